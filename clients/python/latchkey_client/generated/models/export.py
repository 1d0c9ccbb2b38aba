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

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.event import Event
    from ..models.export_sessions_item import ExportSessionsItem
    from ..models.user_details import UserDetails


T = TypeVar("T", bound="Export")


@_attrs_define
class Export:
    """
    Attributes:
        format_ (Literal['latchkey-export/1']):
        exported_at (datetime.datetime):
        user (UserDetails): An account as administrators see it.
        sessions (list[ExportSessionsItem]): The sessions as in `GET /auth/sessions`, but without `current`. Includes
            expired sessions that are still stored.
        events (list[Event]):
        factors (list[Any]): Empty, because there are no second factors yet.
        api_keys (list[Any]): Empty, because there are no API keys yet.
        pending_email (str | Unset): The requested address, which takes effect when it is confirmed. Absent if no
            address is waiting for confirmation.
        events_omitted_before (datetime.datetime | Unset): Present only if some events before this time are missing. No
            later event is missing.
    """

    format_: Literal["latchkey-export/1"]
    exported_at: datetime.datetime
    user: UserDetails
    sessions: list[ExportSessionsItem]
    events: list[Event]
    factors: list[Any]
    api_keys: list[Any]
    pending_email: str | Unset = UNSET
    events_omitted_before: datetime.datetime | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        format_ = self.format_

        exported_at = self.exported_at.isoformat()

        user = self.user.to_dict()

        sessions = []
        for sessions_item_data in self.sessions:
            sessions_item = sessions_item_data.to_dict()
            sessions.append(sessions_item)

        events = []
        for events_item_data in self.events:
            events_item = events_item_data.to_dict()
            events.append(events_item)

        factors = self.factors

        api_keys = self.api_keys

        pending_email = self.pending_email

        events_omitted_before: str | Unset = UNSET
        if not isinstance(self.events_omitted_before, Unset):
            events_omitted_before = self.events_omitted_before.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "format": format_,
                "exported_at": exported_at,
                "user": user,
                "sessions": sessions,
                "events": events,
                "factors": factors,
                "api_keys": api_keys,
            }
        )
        if pending_email is not UNSET:
            field_dict["pending_email"] = pending_email
        if events_omitted_before is not UNSET:
            field_dict["events_omitted_before"] = events_omitted_before

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.event import Event
        from ..models.export_sessions_item import ExportSessionsItem
        from ..models.user_details import UserDetails

        d = dict(src_dict)
        format_ = cast(Literal["latchkey-export/1"], d.pop("format"))
        if format_ != "latchkey-export/1":
            raise ValueError(
                f"format must match const 'latchkey-export/1', got '{format_}'"
            )

        exported_at = datetime.datetime.fromisoformat(d.pop("exported_at"))

        user = UserDetails.from_dict(d.pop("user"))

        sessions = []
        _sessions = d.pop("sessions")
        for sessions_item_data in _sessions:
            sessions_item = ExportSessionsItem.from_dict(sessions_item_data)

            sessions.append(sessions_item)

        events = []
        _events = d.pop("events")
        for events_item_data in _events:
            events_item = Event.from_dict(events_item_data)

            events.append(events_item)

        factors = cast(list[Any], d.pop("factors"))

        api_keys = cast(list[Any], d.pop("api_keys"))

        pending_email = d.pop("pending_email", UNSET)

        _events_omitted_before = d.pop("events_omitted_before", UNSET)
        events_omitted_before: datetime.datetime | Unset
        if isinstance(_events_omitted_before, Unset):
            events_omitted_before = UNSET
        else:
            events_omitted_before = datetime.datetime.fromisoformat(
                _events_omitted_before
            )

        export = cls(
            format_=format_,
            exported_at=exported_at,
            user=user,
            sessions=sessions,
            events=events,
            factors=factors,
            api_keys=api_keys,
            pending_email=pending_email,
            events_omitted_before=events_omitted_before,
        )

        export.additional_properties = d
        return export

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
