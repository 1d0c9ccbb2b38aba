"""Contains all the data models used in inputs/outputs"""

from .credentials_by_email import CredentialsByEmail
from .credentials_by_username import CredentialsByUsername
from .deletion import Deletion
from .email_change import EmailChange
from .email_verify import EmailVerify
from .email_verify_code import EmailVerifyCode
from .event import Event
from .events import Events
from .export import Export
from .export_sessions_item import ExportSessionsItem
from .field_error import FieldError
from .field_error_code import FieldErrorCode
from .invite import Invite
from .key_set import KeySet
from .message import Message
from .metadata import Metadata
from .metadata_id_token_signing_alg_values_supported_item import (
    MetadataIdTokenSigningAlgValuesSupportedItem,
)
from .password_change import PasswordChange
from .password_forgot import PasswordForgot
from .password_reset_by_digits import PasswordResetByDigits
from .password_reset_by_link import PasswordResetByLink
from .problem import Problem
from .problem_code import ProblemCode
from .public_key import PublicKey
from .public_key_alg import PublicKeyAlg
from .public_key_crv import PublicKeyCrv
from .public_key_kty import PublicKeyKty
from .receipt import Receipt
from .receipt_deleted import ReceiptDeleted
from .refresh import Refresh
from .registered import Registered
from .registration import Registration
from .role import Role
from .roles_change import RolesChange
from .session import Session
from .sessions import Sessions
from .step_up import StepUp
from .tokens import Tokens
from .user import User
from .user_change import UserChange
from .user_change_attributes import UserChangeAttributes
from .user_details import UserDetails
from .user_details_attributes import UserDetailsAttributes
from .user_page import UserPage

__all__ = (
    "CredentialsByEmail",
    "CredentialsByUsername",
    "Deletion",
    "EmailChange",
    "EmailVerify",
    "EmailVerifyCode",
    "Event",
    "Events",
    "Export",
    "ExportSessionsItem",
    "FieldError",
    "FieldErrorCode",
    "Invite",
    "KeySet",
    "Message",
    "Metadata",
    "MetadataIdTokenSigningAlgValuesSupportedItem",
    "PasswordChange",
    "PasswordForgot",
    "PasswordResetByDigits",
    "PasswordResetByLink",
    "Problem",
    "ProblemCode",
    "PublicKey",
    "PublicKeyAlg",
    "PublicKeyCrv",
    "PublicKeyKty",
    "Receipt",
    "ReceiptDeleted",
    "Refresh",
    "Registered",
    "Registration",
    "Role",
    "RolesChange",
    "Session",
    "Sessions",
    "StepUp",
    "Tokens",
    "User",
    "UserChange",
    "UserChangeAttributes",
    "UserDetails",
    "UserDetailsAttributes",
    "UserPage",
)
