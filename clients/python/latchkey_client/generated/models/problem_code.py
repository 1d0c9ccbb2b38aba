from enum import StrEnum


class ProblemCode(StrEnum):
    ALREADY_EXISTS = "already_exists"
    FORBIDDEN = "forbidden"
    INSUFFICIENT_ROLE = "insufficient_role"
    INSUFFICIENT_USER_AUTHENTICATION = "insufficient_user_authentication"
    INTERNAL = "internal"
    INVALID_CODE = "invalid_code"
    INVALID_CREDENTIALS = "invalid_credentials"
    INVALID_INPUT = "invalid_input"
    INVALID_INVITE = "invalid_invite"
    INVALID_REQUEST = "invalid_request"
    INVALID_TOKEN = "invalid_token"
    LAST_SUPER_ADMIN = "last_super_admin"
    MISSING_TOKEN = "missing_token"
    NOT_FOUND = "not_found"
    PRECONDITION_FAILED = "precondition_failed"
    PRECONDITION_REQUIRED = "precondition_required"
    REGISTRATION_CLOSED = "registration_closed"
    TOO_LARGE = "too_large"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    UNAVAILABLE = "unavailable"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    WRONG_PASSWORD = "wrong_password"

    def __str__(self) -> str:
        return str(self.value)
