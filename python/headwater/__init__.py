"""Messaging for Python, from one directory to a Kafka cluster.

```python
import headwater as hw

async with hw.connect("local:./data") as conn:
    orders = conn.stream("orders", Order)
    await orders.append(Order(7, "tea"))
```
"""

from . import sync
from ._engine import __version__
from .capabilities import Capabilities, Feature, Level, PatternSupport, Support
from .codec import Codec, CodecContext
from .connection import Connecting, Connection, connect
from .errors import (
    AuthenticationError,
    BatchError,
    CallTimeoutError,
    ClosedError,
    ConflictError,
    ConnectError,
    ConnectionLostError,
    CorruptionError,
    DeclarationError,
    DecodeError,
    DuplicateError,
    DurabilityError,
    EncodeError,
    EntityError,
    ForkedError,
    FullError,
    HeadwaterError,
    IncomparableError,
    IncompatibleError,
    InvalidNameError,
    LeaseLostError,
    NoResponderError,
    NotFoundError,
    OperationTimeoutError,
    OverloadedError,
    RemoteError,
    SchemaError,
    SlowConsumerError,
    StorageError,
    StorageFullError,
    TaskCancelledError,
    TaskFailedError,
    TaskTimeoutError,
    TooLargeError,
    TransactionError,
    TrimmedError,
    UnconfirmedError,
    UnsupportedError,
    UsageError,
)
from .message import (
    Attempt,
    ConsumerHealth,
    DeadLetter,
    Delivery,
    Health,
    Info,
    Item,
    Message,
    Position,
    QueueStats,
    Retention,
    SourceStats,
    StreamInfo,
)
from .patterns.channel import Channel
from .patterns.checkpoint import Checkpoint
from .patterns.dead import DeadLetters, DeadReader
from .patterns.group import Group
from .patterns.iterate import Consumer, Reader, Subscription
from .patterns.queue import Queue
from .patterns.source import Source
from .patterns.stream import Stream
from .retry import RejectMessage, Retry, RetryLater

__all__ = [
    "Attempt",
    "AuthenticationError",
    "BatchError",
    "CallTimeoutError",
    "Capabilities",
    "Channel",
    "Checkpoint",
    "ClosedError",
    "Codec",
    "CodecContext",
    "ConflictError",
    "ConnectError",
    "Connecting",
    "Connection",
    "ConnectionLostError",
    "Consumer",
    "ConsumerHealth",
    "CorruptionError",
    "DeadLetter",
    "DeadLetters",
    "DeadReader",
    "DeclarationError",
    "DecodeError",
    "Delivery",
    "DuplicateError",
    "DurabilityError",
    "EncodeError",
    "EntityError",
    "Feature",
    "ForkedError",
    "FullError",
    "Group",
    "HeadwaterError",
    "Health",
    "IncomparableError",
    "IncompatibleError",
    "Info",
    "InvalidNameError",
    "Item",
    "LeaseLostError",
    "Level",
    "Message",
    "NoResponderError",
    "NotFoundError",
    "OperationTimeoutError",
    "OverloadedError",
    "PatternSupport",
    "Position",
    "Queue",
    "QueueStats",
    "Reader",
    "RejectMessage",
    "RemoteError",
    "Retention",
    "Retry",
    "RetryLater",
    "SchemaError",
    "SlowConsumerError",
    "Source",
    "SourceStats",
    "StorageError",
    "StorageFullError",
    "Stream",
    "StreamInfo",
    "Subscription",
    "Support",
    "TaskCancelledError",
    "TaskFailedError",
    "TaskTimeoutError",
    "TooLargeError",
    "TransactionError",
    "TrimmedError",
    "UnconfirmedError",
    "UnsupportedError",
    "UsageError",
    "__version__",
    "connect",
    "sync",
]
