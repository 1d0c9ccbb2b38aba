from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.role import Role

if TYPE_CHECKING:
    from ..models.user_details_attributes import UserDetailsAttributes


T = TypeVar("T", bound="UserDetails")


@_attrs_define
class UserDetails:
    """An account as administrators see it.

    Attributes:
        id (UUID): A UUIDv7. It is the `sub` of the account's tokens and never changes.
        username (str): UsernameCaseMapped (RFC 8265), without `@` and without control, invisible or direction-changing
            characters.
        email (None | str):
        email_verified (bool):
        roles (list[Role]): A set; no role implies another.
        created_at (datetime.datetime):
        disabled (bool):
        attributes (UserDetailsAttributes): Facts about the account, which its tokens contain; at most 1,024 bytes as
            JSON.
        factors (list[str]): The kinds of enrolled second factors.
        last_login_at (datetime.datetime | None): Accurate to ten seconds.
    """

    id: UUID
    username: str
    email: None | str
    email_verified: bool
    roles: list[Role]
    created_at: datetime.datetime
    disabled: bool
    attributes: UserDetailsAttributes
    factors: list[str]
    last_login_at: datetime.datetime | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = str(self.id)

        username = self.username

        email: None | str
        email = self.email

        email_verified = self.email_verified

        roles = []
        for componentsschemas_roles_item_data in self.roles:
            componentsschemas_roles_item = componentsschemas_roles_item_data.value
            roles.append(componentsschemas_roles_item)

        created_at = self.created_at.isoformat()

        disabled = self.disabled

        attributes = self.attributes.to_dict()

        factors = self.factors

        last_login_at: None | str
        if isinstance(self.last_login_at, datetime.datetime):
            last_login_at = self.last_login_at.isoformat()
        else:
            last_login_at = self.last_login_at

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "username": username,
                "email": email,
                "email_verified": email_verified,
                "roles": roles,
                "created_at": created_at,
                "disabled": disabled,
                "attributes": attributes,
                "factors": factors,
                "last_login_at": last_login_at,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.user_details_attributes import UserDetailsAttributes

        d = dict(src_dict)
        id = UUID(d.pop("id"))

        username = d.pop("username")

        def _parse_email(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        email = _parse_email(d.pop("email"))

        email_verified = d.pop("email_verified")

        roles = []
        _roles = d.pop("roles")
        for componentsschemas_roles_item_data in _roles:
            componentsschemas_roles_item = Role(componentsschemas_roles_item_data)

            roles.append(componentsschemas_roles_item)

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        disabled = d.pop("disabled")

        attributes = UserDetailsAttributes.from_dict(d.pop("attributes"))

        factors = cast(list[str], d.pop("factors"))

        def _parse_last_login_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                last_login_at_type_0 = datetime.datetime.fromisoformat(data)

                return last_login_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        last_login_at = _parse_last_login_at(d.pop("last_login_at"))

        user_details = cls(
            id=id,
            username=username,
            email=email,
            email_verified=email_verified,
            roles=roles,
            created_at=created_at,
            disabled=disabled,
            attributes=attributes,
            factors=factors,
            last_login_at=last_login_at,
        )

        user_details.additional_properties = d
        return user_details

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
