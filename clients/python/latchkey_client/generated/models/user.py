from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.role import Role

T = TypeVar("T", bound="User")


@_attrs_define
class User:
    """
    Example:
        {'id': '019ce36f-2530-7d21-9c4f-5b0e8a6f3d17', 'username': 'testuser', 'email': 'testuser@example.com',
            'email_verified': False, 'roles': ['user'], 'created_at': '2026-03-12T19:03:58Z', 'disabled': False}

    Attributes:
        id (UUID): A UUIDv7. It is the `sub` of the account's tokens and never changes.
        username (str): UsernameCaseMapped (RFC 8265), without `@` and without control, invisible or direction-changing
            characters.
        email (None | str):
        email_verified (bool):
        roles (list[Role]): A set; no role implies another.
        created_at (datetime.datetime):
        disabled (bool):
    """

    id: UUID
    username: str
    email: None | str
    email_verified: bool
    roles: list[Role]
    created_at: datetime.datetime
    disabled: bool
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
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
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

        user = cls(
            id=id,
            username=username,
            email=email,
            email_verified=email_verified,
            roles=roles,
            created_at=created_at,
            disabled=disabled,
        )

        user.additional_properties = d
        return user

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
