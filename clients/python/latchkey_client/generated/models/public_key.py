from __future__ import annotations

from collections.abc import Mapping
from typing import (
    Any,
    Literal,
    Self,
    TypeVar,
    cast,
)

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.public_key_alg import PublicKeyAlg
from ..models.public_key_crv import PublicKeyCrv
from ..models.public_key_kty import PublicKeyKty
from ..types import UNSET, Unset

T = TypeVar("T", bound="PublicKey")


@_attrs_define
class PublicKey:
    """A public key (RFC 7517), with the members that `alg` requires and no private members.

    Attributes:
        kty (PublicKeyKty):
        kid (str):
        use (Literal['sig']):
        alg (PublicKeyAlg):
        crv (PublicKeyCrv | Unset):
        x (str | Unset):
        y (str | Unset):
        n (str | Unset):
        e (str | Unset):
    """

    kty: PublicKeyKty
    kid: str
    use: Literal["sig"]
    alg: PublicKeyAlg
    crv: PublicKeyCrv | Unset = UNSET
    x: str | Unset = UNSET
    y: str | Unset = UNSET
    n: str | Unset = UNSET
    e: str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        kty = self.kty.value

        kid = self.kid

        use = self.use

        alg = self.alg.value

        crv: str | Unset = UNSET
        if not isinstance(self.crv, Unset):
            crv = self.crv.value

        x = self.x

        y = self.y

        n = self.n

        e = self.e

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "kty": kty,
                "kid": kid,
                "use": use,
                "alg": alg,
            }
        )
        if crv is not UNSET:
            field_dict["crv"] = crv
        if x is not UNSET:
            field_dict["x"] = x
        if y is not UNSET:
            field_dict["y"] = y
        if n is not UNSET:
            field_dict["n"] = n
        if e is not UNSET:
            field_dict["e"] = e

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        d = dict(src_dict)
        kty = PublicKeyKty(d.pop("kty"))

        kid = d.pop("kid")

        use = cast(Literal["sig"], d.pop("use"))
        if use != "sig":
            raise ValueError(f"use must match const 'sig', got '{use}'")

        alg = PublicKeyAlg(d.pop("alg"))

        _crv = d.pop("crv", UNSET)
        crv: PublicKeyCrv | Unset
        if isinstance(_crv, Unset):
            crv = UNSET
        else:
            crv = PublicKeyCrv(_crv)

        x = d.pop("x", UNSET)

        y = d.pop("y", UNSET)

        n = d.pop("n", UNSET)

        e = d.pop("e", UNSET)

        public_key = cls(
            kty=kty,
            kid=kid,
            use=use,
            alg=alg,
            crv=crv,
            x=x,
            y=y,
            n=n,
            e=e,
        )

        public_key.additional_properties = d
        return public_key

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
