from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.user import User


T = TypeVar("T", bound="Registered")


@_attrs_define
class Registered:
    """
    Example:
        {'message': 'User registered successfully', 'user': {'id': '019ce36f-2530-7d21-9c4f-5b0e8a6f3d17', 'username':
            'testuser', 'email': 'testuser@example.com', 'email_verified': False, 'roles': ['user'], 'created_at':
            '2026-03-12T19:03:58Z', 'disabled': False}}

    Attributes:
        message (str):
        user (User):  Example: {'id': '019ce36f-2530-7d21-9c4f-5b0e8a6f3d17', 'username': 'testuser', 'email':
            'testuser@example.com', 'email_verified': False, 'roles': ['user'], 'created_at': '2026-03-12T19:03:58Z',
            'disabled': False}.
    """

    message: str
    user: User
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        message = self.message

        user = self.user.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "message": message,
                "user": user,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.user import User

        d = dict(src_dict)
        message = d.pop("message")

        user = User.from_dict(d.pop("user"))

        registered = cls(
            message=message,
            user=user,
        )

        registered.additional_properties = d
        return registered

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
