"""The payload types of the other files, of every kind that a user may have."""

import dataclasses
from typing import TypedDict

import msgspec
from pydantic import BaseModel


class Order(msgspec.Struct):
    item: str
    amount: int = 1


@dataclasses.dataclass
class Job:
    url: str


class ChatLine(TypedDict):
    who: str
    text: str


class Profile(BaseModel):
    name: str


class Sold(msgspec.Struct, tag=True):
    item: str


class Bought(msgspec.Struct, tag=True):
    item: str
