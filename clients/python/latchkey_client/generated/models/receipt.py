from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Self,
    TypeVar,
    cast,
)
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.receipt_deleted import ReceiptDeleted


T = TypeVar("T", bound="Receipt")


@_attrs_define
class Receipt:
    """
    Attributes:
        receipt (UUID): The id of the security event that records the action.
        action (Literal['deleted']):
        user_id (UUID):
        at (datetime.datetime):
        deleted (ReceiptDeleted): How many items of each kind were deleted with the account. If there are too many to
            count them within a few seconds, the numbers are too low.
    """

    receipt: UUID
    action: Literal["deleted"]
    user_id: UUID
    at: datetime.datetime
    deleted: ReceiptDeleted
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        receipt = str(self.receipt)

        action = self.action

        user_id = str(self.user_id)

        at = self.at.isoformat()

        deleted = self.deleted.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "receipt": receipt,
                "action": action,
                "user_id": user_id,
                "at": at,
                "deleted": deleted,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.receipt_deleted import ReceiptDeleted

        d = dict(src_dict)
        receipt = UUID(d.pop("receipt"))

        action = cast(Literal["deleted"], d.pop("action"))
        if action != "deleted":
            raise ValueError(f"action must match const 'deleted', got '{action}'")

        user_id = UUID(d.pop("user_id"))

        at = datetime.datetime.fromisoformat(d.pop("at"))

        deleted = ReceiptDeleted.from_dict(d.pop("deleted"))

        receipt = cls(
            receipt=receipt,
            action=action,
            user_id=user_id,
            at=at,
            deleted=deleted,
        )

        receipt.additional_properties = d
        return receipt

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
