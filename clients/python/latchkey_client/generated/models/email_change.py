from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="EmailChange")


@_attrs_define
class EmailChange:
    """
    Example:
        {'password': 'a long walk by the river', 'new_email': 'testuser@example.org'}

    Attributes:
        password (str): A password, at most 1,024 bytes in UTF-8.
        new_email (str): An addr-spec of at most 254 octets. The local part may be in any script (RFC 6531); the domain
            is an IDNA2008 name.
    """

    password: str = _attrs_field(repr=False)
    new_email: str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        password = self.password

        new_email = self.new_email

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "password": password,
                "new_email": new_email,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        password = d.pop("password")

        new_email = d.pop("new_email")

        email_change = cls(
            password=password,
            new_email=new_email,
        )

        email_change.additional_properties = d
        return email_change

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
