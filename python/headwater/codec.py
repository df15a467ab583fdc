"""How values become bytes and bytes become values.

`bytes` travel as they are, `str` as UTF-8, everything else by the codec of the pattern or connection: "json" (the default),
"msgpack", "raw" (bytes and str alone), or an object of the protocol `Codec`. The content type travels with each message, so that a
reader understands what another codec wrote.
"""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol, cast, get_args, get_origin, runtime_checkable

import msgspec

from .errors import DecodeError, EncodeError, UsageError

__all__ = ["BYTES", "Codec", "CodecContext", "CodecName", "Coding", "coding_for"]

BYTES = "application/octet-stream"
TEXT = "text/plain"
JSON = "application/json"
MSGPACK = "application/msgpack"

CodecName = Literal["json", "msgpack", "raw"]

_NAMED = {"json": JSON, "msgpack": MSGPACK, "raw": BYTES}
_FORMATS = {JSON: "json", MSGPACK: "msgpack", "application/x-msgpack": "msgpack", "application/vnd.msgpack": "msgpack"}
# `type` is also the name of a parameter here, as the protocol has it.
_CLASS: Any = builtins.type
_PATH = re.compile(r" - at `([^`]*)`$")


@dataclass(frozen=True, slots=True)
class CodecContext:
    """What a codec is told: the name, and the pattern ("channel", "queue", "stream")."""

    name: str
    pattern: str


@runtime_checkable
class Codec(Protocol):
    """A codec of one's own, given as `codec=`. It sees every value, bytes and str too.

    content_type travels with the messages. What `encode` or `decode` raises becomes EncodeError or DecodeError.
    """

    content_type: str

    def encode(self, value: Any, ctx: CodecContext, /) -> bytes: ...

    def decode(self, data: bytes, type: Any, ctx: CodecContext, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Coding:
    """One type by one codec. encode, decode: None where bytes stay as they are. `any`: values of any type, so that a `bytes` among
    them goes as it is. other: decodes what came with another content type."""

    type: Any
    content_type: str
    encode: Callable[[Any], bytes] | None
    decode: Callable[[bytes], Any] | None
    other: Callable[[bytes, str], Any]
    any: bool = False

    def encoding_failed(self, value: Any, name: str) -> EncodeError | None:
        """Why `value` did not encode; None where it does. Called after a send failed, so that sends need not look first."""
        if isinstance(value, (bytes, bytearray, memoryview)) and (self.any or self.encode is None):
            return None
        if self.encode is None:
            return EncodeError(f"{name} carries bytes, not {_type_name(_CLASS(value))}")
        try:
            self.encode(value)
        except Exception as error:
            found = EncodeError(f"{_type_name(_CLASS(value))} does not encode as {self.content_type} for {name}: {_brief(error)}")
            found.__cause__ = error
            return found
        return None

    def encoded(self, value: Any, name: str) -> bytes:
        """`value` as bytes; EncodeError."""
        if isinstance(value, (bytes, bytearray, memoryview)) and (self.any or self.encode is None):
            return bytes(cast("Any", value))
        failed = self.encoding_failed(value, name)
        if failed is not None or self.encode is None:
            raise failed or EncodeError(f"{name} carries bytes")
        return self.encode(value)

    def content_type_of(self, value: Any) -> str:
        return BYTES if self.any and isinstance(value, (bytes, bytearray, memoryview)) else self.content_type

    def decoding_failed(self, name: str, error: BaseException) -> DecodeError:
        """The DecodeError for what `decode` raised."""
        path, text = _explain(error)
        at = f" at {path}" if path else ""
        found = DecodeError(f"a message of {name} is not {_type_name(self.type)}{at}: {text}", path=path)
        found.__cause__ = error
        return found

    def decode_other(self, data: bytes, content_type: str, name: str) -> Any:
        """A value that came with a content type which is not this coding's; DecodeError."""
        try:
            return self.other(data, content_type)
        except DecodeError:
            raise
        except Exception as error:
            raise self.decoding_failed(name, error) from error


def coding_for(codec: str | Codec, type: Any, ctx: CodecContext) -> Coding:
    """The coding of `type` by `codec`. UsageError where they don't go together."""
    if isinstance(codec, str):
        if codec not in _NAMED:
            raise UsageError(f"unknown codec {codec!r}: it is json, msgpack, raw or an object of the protocol Codec")
        try:
            return _named(codec, type)
        except TypeError as error:
            if "unhashable" not in str(error):
                raise
            return _named.__wrapped__(codec, type)
    if not isinstance(codec, Codec):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise UsageError(f"codec={codec!r} has no content_type, encode and decode")
    custom = codec
    return Coding(
        type,
        custom.content_type,
        encode=lambda value: custom.encode(value, ctx),
        decode=lambda data: custom.decode(data, type, ctx),
        other=lambda data, content_type: _other(type, lambda raw: custom.decode(raw, type, ctx), data, content_type),
    )


@lru_cache(maxsize=512)
def _named(codec: str, type: Any) -> Coding:
    if type is bytes:
        return Coding(bytes, BYTES, None, None, lambda data, _: data)
    if type is str:
        text: Callable[[bytes], Any] = bytes.decode
        return Coding(str, TEXT, str.encode, text, lambda data, content_type: _other(str, text, data, content_type))
    anything = type is Any or type is object
    if codec == "raw":
        if not anything:
            raise UsageError(f"the codec raw carries bytes and str, not {_type_name(type)}")
        return Coding(Any, BYTES, None, None, lambda data, _: data, any=True)
    encode = _encoder(codec, type)
    decode = _decoder(codec, type)
    return Coding(type, _NAMED[codec], encode, decode, lambda data, content_type: _other(type, decode, data, content_type), any=anything)


def _other(type: Any, own: Callable[[bytes], Any], data: bytes, content_type: str) -> Any:
    """Decodes by the content type that came with the data. Data without one, or with one that says nothing to us, is tried as our
    own: programs that know nothing of headwater wrote it."""
    kind = content_type.partition(";")[0].strip().lower()
    form = _FORMATS.get(kind) or ("json" if kind.endswith("+json") else "msgpack" if kind.endswith("+msgpack") else None)
    if type is bytes:
        return data
    if form is not None:
        return _cached_decoder(form, type)(data)
    if kind.startswith("text/") and (type is str or type is Any or type is object):
        return data.decode()
    if type is Any or type is object:
        return data
    return own(data)


def _encoder(form: str, type: Any) -> Callable[[Any], bytes]:
    if _mentions_pydantic(type):
        adapter = sys.modules["pydantic"].TypeAdapter(type)
        if form == "json":
            to_json: Callable[[Any], bytes] = adapter.dump_json
            return to_json
        pack = msgspec.msgpack.Encoder().encode
        return lambda value: pack(adapter.dump_python(value, mode="json"))
    encoder: Any = msgspec.json.Encoder(enc_hook=_plain) if form == "json" else msgspec.msgpack.Encoder(enc_hook=_plain)
    encode: Callable[[Any], bytes] = encoder.encode
    return encode


def _plain(value: Any) -> Any:
    """What msgspec does not know: a pydantic model among values of type Any."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise NotImplementedError(f"Encoding objects of type {type(value).__name__} is unsupported")
    return dump(mode="json")


def _decoder(form: str, type: Any) -> Callable[[bytes], Any]:
    if _mentions_pydantic(type):
        adapter = sys.modules["pydantic"].TypeAdapter(type)
        if form == "json":
            validate: Callable[[bytes], Any] = adapter.validate_json
            return validate
        unpack = msgspec.msgpack.Decoder().decode
        return lambda data: adapter.validate_python(unpack(data))
    kind = Any if type is object else type
    try:
        decoder: Any = msgspec.json.Decoder(kind) if form == "json" else msgspec.msgpack.Decoder(kind)
    except (TypeError, NameError) as error:
        raise UsageError(f"{_type_name(type)} is no type of a message: {error}") from error
    if _holds_custom(msgspec.inspect.type_info(decoder.type)):
        raise UsageError(f"{_type_name(type)} is no type of a message: msgspec cannot build it; use a Struct, dataclass, TypedDict or a Codec")
    decode: Callable[[bytes], Any] = decoder.decode
    return decode


def _holds_custom(info: msgspec.inspect.Type) -> bool:
    """Whether it is, or is a collection of, what msgspec cannot build. The fields of a Struct are its own affair."""
    if isinstance(info, msgspec.inspect.CustomType):
        return True
    inner: list[Any] = []
    for name in ("item_type", "key_type", "value_type"):
        inner += [getattr(info, name)] if hasattr(info, name) else []
    for name in ("item_types", "types"):
        inner += getattr(info, name, ())
    return any(_holds_custom(each) for each in inner)


@lru_cache(maxsize=512)
def _cached_decoder_of(form: str, type: Any) -> Callable[[bytes], Any]:
    return _decoder(form, type)


def _cached_decoder(form: str, type: Any) -> Callable[[bytes], Any]:
    try:
        return _cached_decoder_of(form, type)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _decoder(form, type)


def _mentions_pydantic(type: Any) -> bool:
    """Whether a pydantic model stands in `type`; without importing pydantic, since who has a model has imported it."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None:
        return False
    found: list[Any] = [type]
    while found:
        each = found.pop()
        if isinstance(each, _CLASS) and issubclass(each, pydantic.BaseModel):
            return True
        if get_origin(each) is not None:
            found.extend(get_args(each))
    return False


def _explain(error: BaseException) -> tuple[str | None, str]:
    """The path of the field and the reason. The values themselves are left out where the library allows: these texts are logged."""
    errors = getattr(error, "errors", None)
    if errors is not None and type(error).__module__.startswith("pydantic"):
        first = errors(include_input=False, include_url=False)[0]
        path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        return path, str(first["msg"])
    text = str(error)
    if isinstance(error, msgspec.ValidationError):
        found = _PATH.search(text)
        return (found[1] if found else "$"), (text[: found.start()] if found else text)
    if isinstance(error, msgspec.DecodeError):
        return None, text
    if isinstance(error, UnicodeDecodeError):
        return None, f"byte {error.start} is not UTF-8"
    return None, _brief(error)


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, _CLASS) and not get_args(kind) else str(kind).replace("typing.", "")
