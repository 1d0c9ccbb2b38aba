from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self, TypeVar
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="Event")


@_attrs_define
class Event:
    """A security event. Some kinds have further members; docs/events.md documents them.

    Attributes:
        id (UUID): A UUIDv7.
        kind (str): What happened, such as `login`. Later versions may add kinds.
        at (datetime.datetime):
        by (str | Unset): Who caused the event, if not the owner: the id of another user, or `operator`.
        network (str | Unset): The network of the request, an IPv4 address or an IPv6 /64.
        user_agent (str | Unset): The `User-Agent` of the request. The client chooses it, so escape it where you display
            it.
    """

    id: UUID
    kind: str
    at: datetime.datetime
    by: str | Unset = UNSET
    network: str | Unset = UNSET
    user_agent: str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = str(self.id)

        kind = self.kind

        at = self.at.isoformat()

        by = self.by

        network = self.network

        user_agent = self.user_agent

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "kind": kind,
                "at": at,
            }
        )
        if by is not UNSET:
            field_dict["by"] = by
        if network is not UNSET:
            field_dict["network"] = network
        if user_agent is not UNSET:
            field_dict["user_agent"] = user_agent

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        id = UUID(d.pop("id"))

        kind = d.pop("kind")

        at = datetime.datetime.fromisoformat(d.pop("at"))

        by = d.pop("by", UNSET)

        network = d.pop("network", UNSET)

        user_agent = d.pop("user_agent", UNSET)

        event = cls(
            id=id,
            kind=kind,
            at=at,
            by=by,
            network=network,
            user_agent=user_agent,
        )

        event.additional_properties = d
        return event

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
