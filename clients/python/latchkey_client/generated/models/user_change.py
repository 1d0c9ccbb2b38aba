from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.user_change_attributes import UserChangeAttributes


T = TypeVar("T", bound="UserChange")


@_attrs_define
class UserChange:
    """Members that are absent stay unchanged.

    Example:
        {'disabled': True, 'attributes': {'tenant': 'acme'}}

    Attributes:
        disabled (bool | Unset):
        email (None | str | Unset):
        email_verified (bool | Unset):
        attributes (UserChangeAttributes | Unset): At most 1,024 bytes as JSON, nested at most 16 levels deep.
    """

    disabled: bool | Unset = UNSET
    email: None | str | Unset = UNSET
    email_verified: bool | Unset = UNSET
    attributes: UserChangeAttributes | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        disabled = self.disabled

        email: None | str | Unset
        if isinstance(self.email, Unset):
            email = UNSET
        else:
            email = self.email

        email_verified = self.email_verified

        attributes: dict[str, Any] | Unset = UNSET
        if not isinstance(self.attributes, Unset):
            attributes = self.attributes.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if disabled is not UNSET:
            field_dict["disabled"] = disabled
        if email is not UNSET:
            field_dict["email"] = email
        if email_verified is not UNSET:
            field_dict["email_verified"] = email_verified
        if attributes is not UNSET:
            field_dict["attributes"] = attributes

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.user_change_attributes import UserChangeAttributes

        d = dict(src_dict)
        disabled = d.pop("disabled", UNSET)

        def _parse_email(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        email = _parse_email(d.pop("email", UNSET))

        email_verified = d.pop("email_verified", UNSET)

        _attributes = d.pop("attributes", UNSET)
        attributes: UserChangeAttributes | Unset
        if isinstance(_attributes, Unset):
            attributes = UNSET
        else:
            attributes = UserChangeAttributes.from_dict(_attributes)

        user_change = cls(
            disabled=disabled,
            email=email,
            email_verified=email_verified,
            attributes=attributes,
        )

        user_change.additional_properties = d
        return user_change

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
