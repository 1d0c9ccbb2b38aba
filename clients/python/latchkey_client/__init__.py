"""A client for Latchkey.

``Session`` stores the tokens and refreshes them. ``latchkey_client.generated`` contains a function for each route,
generated from the description of the API.
"""

from .generated.errors import UnexpectedStatus
from .session import MemoryStorage, Session, SignedOut, StoredTokens, TokenStorage

__all__ = ["MemoryStorage", "Session", "SignedOut", "StoredTokens", "TokenStorage", "UnexpectedStatus"]
