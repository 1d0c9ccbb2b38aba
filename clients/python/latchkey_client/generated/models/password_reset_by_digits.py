from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="PasswordResetByDigits")


@_attrs_define
class PasswordResetByDigits:
    """
    Attributes:
        email (str): An addr-spec of at most 254 octets. The local part may be in any script (RFC 6531); the domain is
            an IDNA2008 name.
        code (str): Eight digits. White space and hyphens are dropped, and full-width digits are accepted. If the result
            is not eight digits, the response is 400 `invalid_input`, and no try is used up. Example: 1234 5678.
        new_password (str): Any Unicode text of at least 8 characters (more by configuration) and at most 1,024 bytes in
            UTF-8. It is normalized to NFC and otherwise used unchanged. It is refused if it is among the most common
            passwords, equals the username or the email address, or is on a configured list of breached passwords.
        token (None | Unset):
    """

    email: str
    code: str = _attrs_field(repr=False)
    new_password: str = _attrs_field(repr=False)
    token: None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        email = self.email

        code = self.code

        new_password = self.new_password

        token = self.token

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "email": email,
                "code": code,
                "new_password": new_password,
            }
        )
        if token is not UNSET:
            field_dict["token"] = token

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        email = d.pop("email")

        code = d.pop("code")

        new_password = d.pop("new_password")

        token = d.pop("token", UNSET)

        password_reset_by_digits = cls(
            email=email,
            code=code,
            new_password=new_password,
            token=token,
        )

        password_reset_by_digits.additional_properties = d
        return password_reset_by_digits

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
