from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="PasswordResetByLink")


@_attrs_define
class PasswordResetByLink:
    """
    Attributes:
        token (str): The token of an emailed link. A malformed value gets 400 `invalid_code`, like a wrong token.
        new_password (str): Any Unicode text of at least 8 characters (more by configuration) and at most 1,024 bytes in
            UTF-8. It is normalized to NFC and otherwise used unchanged. It is refused if it is among the most common
            passwords, equals the username or the email address, or is on a configured list of breached passwords.
        email (None | Unset):
        code (None | Unset):
    """

    token: str = _attrs_field(repr=False)
    new_password: str = _attrs_field(repr=False)
    email: None | Unset = UNSET
    code: None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        token = self.token

        new_password = self.new_password

        email = self.email

        code = self.code

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "token": token,
                "new_password": new_password,
            }
        )
        if email is not UNSET:
            field_dict["email"] = email
        if code is not UNSET:
            field_dict["code"] = code

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        token = d.pop("token")

        new_password = d.pop("new_password")

        email = d.pop("email", UNSET)

        code = d.pop("code", UNSET)

        password_reset_by_link = cls(
            token=token,
            new_password=new_password,
            email=email,
            code=code,
        )

        password_reset_by_link.additional_properties = d
        return password_reset_by_link

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
