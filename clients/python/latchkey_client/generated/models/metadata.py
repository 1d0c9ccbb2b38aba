from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.metadata_id_token_signing_alg_values_supported_item import (
    MetadataIdTokenSigningAlgValuesSupportedItem,
)

T = TypeVar("T", bound="Metadata")


@_attrs_define
class Metadata:
    """RFC 8414, section 2, and the member of OpenID Connect Discovery from which libraries take the algorithms.

    Example:
        {'issuer': 'https://auth.example.com', 'jwks_uri': 'https://auth.example.com/.well-known/jwks.json',
            'response_types_supported': [], 'id_token_signing_alg_values_supported': ['ES256', 'EdDSA', 'RS256']}

    Attributes:
        issuer (str):
        jwks_uri (str):
        response_types_supported (list[str]): Empty, because there is no authorization endpoint.
        id_token_signing_alg_values_supported (list[MetadataIdTokenSigningAlgValuesSupportedItem]): All algorithms that
            access tokens may have, not only the one that is configured now.
    """

    issuer: str
    jwks_uri: str
    response_types_supported: list[str]
    id_token_signing_alg_values_supported: list[
        MetadataIdTokenSigningAlgValuesSupportedItem
    ]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        issuer = self.issuer

        jwks_uri = self.jwks_uri

        response_types_supported = self.response_types_supported

        id_token_signing_alg_values_supported = []
        for (
            id_token_signing_alg_values_supported_item_data
        ) in self.id_token_signing_alg_values_supported:
            id_token_signing_alg_values_supported_item = (
                id_token_signing_alg_values_supported_item_data.value
            )
            id_token_signing_alg_values_supported.append(
                id_token_signing_alg_values_supported_item
            )

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "issuer": issuer,
                "jwks_uri": jwks_uri,
                "response_types_supported": response_types_supported,
                "id_token_signing_alg_values_supported": id_token_signing_alg_values_supported,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        issuer = d.pop("issuer")

        jwks_uri = d.pop("jwks_uri")

        response_types_supported = cast(list[str], d.pop("response_types_supported"))

        id_token_signing_alg_values_supported = []
        _id_token_signing_alg_values_supported = d.pop(
            "id_token_signing_alg_values_supported"
        )
        for (
            id_token_signing_alg_values_supported_item_data
        ) in _id_token_signing_alg_values_supported:
            id_token_signing_alg_values_supported_item = (
                MetadataIdTokenSigningAlgValuesSupportedItem(
                    id_token_signing_alg_values_supported_item_data
                )
            )

            id_token_signing_alg_values_supported.append(
                id_token_signing_alg_values_supported_item
            )

        metadata = cls(
            issuer=issuer,
            jwks_uri=jwks_uri,
            response_types_supported=response_types_supported,
            id_token_signing_alg_values_supported=id_token_signing_alg_values_supported,
        )

        metadata.additional_properties = d
        return metadata

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
