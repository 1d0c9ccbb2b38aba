from enum import StrEnum


class FieldErrorCode(StrEnum):
    BREACHED_PASSWORD = "breached_password"
    INVALID_CHARACTERS = "invalid_characters"
    INVALID_CURSOR = "invalid_cursor"
    INVALID_FORMAT = "invalid_format"
    INVALID_OBJECT = "invalid_object"
    MATCHES_EMAIL = "matches_email"
    MATCHES_USERNAME = "matches_username"
    MISSING = "missing"
    NO_ADDRESS = "no_address"
    OUT_OF_RANGE = "out_of_range"
    RESERVED = "reserved"
    TOO_COMMON = "too_common"
    TOO_DEEP = "too_deep"
    TOO_LONG = "too_long"
    TOO_SHORT = "too_short"
    WRONG_TYPE = "wrong_type"

    def __str__(self) -> str:
        return str(self.value)
