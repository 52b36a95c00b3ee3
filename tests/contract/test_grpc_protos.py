"""The messages of the gRPC port say on the wire what those of published clients say."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor
from grpc_health.v1 import health_pb2 as published_health
from tritonclient.grpc import service_pb2 as published_inference

from gateway.pb import health_pb2, open_inference_pb2

PUBLISHED = {
    open_inference_pb2: (published_inference.DESCRIPTOR, "breed_gateway.inference.", "inference."),
    health_pb2: (published_health.DESCRIPTOR, "breed_gateway.health.", "grpc.health.v1."),
}
MESSAGES = [
    (name, ours, published, (own_prefix, prefix))
    for module, (published, own_prefix, prefix) in PUBLISHED.items()
    for name, ours in module.DESCRIPTOR.message_types_by_name.items()
]


def fields(message: Descriptor, prefix: str) -> dict[int, tuple[object, ...]]:
    """Name, type, repetition and oneof of each field by number; below messages, those of their fields."""
    return {
        field.number: (
            field.name,
            field.type,
            field.is_repeated,
            field.containing_oneof.name if field.containing_oneof else None,
            field.message_type.full_name.removeprefix(prefix) if field.message_type else None,
            {one.name: one.number for one in field.enum_type.values} if field.enum_type else {},
        )
        for field in message.fields
    }


def with_nested(message: Descriptor) -> list[Descriptor]:
    return [message, *(descendant for nested in message.nested_types for descendant in with_nested(nested))]


@pytest.mark.parametrize(("name", "ours", "published", "prefixes"), MESSAGES, ids=[one[0] for one in MESSAGES])
def test_every_field_is_the_published_one_of_that_number(
    name: str, ours: Descriptor, published: object, prefixes: tuple[str, str]
) -> None:
    theirs = {one.full_name: one for one in with_nested(published.message_types_by_name[name])}  # type: ignore[attr-defined]
    for message in with_nested(ours):
        fields_by_number = fields(theirs[message.full_name.replace(*prefixes)], prefixes[1])
        for number, field in fields(message, prefixes[0]).items():
            if field[-1]:  # a server may leave out values of an enum that it never sends
                assert field[:-1] == fields_by_number[number][:-1]
                assert field[-1].items() <= fields_by_number[number][-1].items()  # type: ignore[attr-defined]
            else:
                assert field == fields_by_number[number]
