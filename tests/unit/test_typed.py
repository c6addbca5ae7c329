"""Typed messages: which classes there may be, what fits them, and which sentence refuses the rest."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Optional
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from django_letsgo_worker import declarations, handler, message_type, registry, schedule, typed
from django_letsgo_worker.errors import DuplicateHandler, DuplicateMessageType, InvalidMessage

pytestmark = pytest.mark.usefixtures("own_registries")


@dataclass
class Line:
    article: str
    pieces: int = 1


@dataclass
class Order:
    order: int
    price: float = 0.0
    gift: bool = False
    note: str | None = None
    old: Optional[int] = None  # noqa: UP045
    key: int | str = 0
    lines: list[Line] = field(default_factory=list)
    facts: dict[str, int] = field(default_factory=dict)
    rest: Any = None
    after: Order | None = None
    made: str = field(default="here", init=False)


@dataclass
class Dated:
    at: datetime
    id: UUID | None = None
    price: Decimal | None = None


class Model(BaseModel):
    pieces: int = Field(gt=0, alias="n")


@pytest.fixture
def no_pydantic(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)


def as_type(cls, type="t:x"):
    message_type(type)(cls)
    return typed.find(cls)


FULL = Order(
    7, price=1.5, gift=True, note="Grüße", old=3, key="k", lines=[Line("tea", 2)], facts={"a": 1},
    rest=[{"x": None}], after=Order(8, lines=[Line("pot")]),
)  # fmt: skip


class TestPlainDataclasses:
    def test_an_object_goes_there_and_back(self):
        order = as_type(Order)
        payload = order.plain(FULL)
        assert payload["lines"] == [{"article": "tea", "pieces": 2}]
        assert payload["after"]["order"] == 8
        assert order.read(payload) == FULL

    def test_what_has_a_default_may_be_missing_and_what_is_unknown_is_passed_over(self):
        assert as_type(Order).read({"order": 7, "new": True, "lines": [{"article": "tea"}]}) == Order(
            7, lines=[Line("tea", 1)]
        )

    def test_a_whole_number_is_a_number(self):
        assert as_type(Order).read({"order": 7, "price": 2}).price == 2.0

    @pytest.mark.parametrize(
        ("payload", "place"),
        [
            ({"order": "7"}, "payload.order"),
            ({"order": True}, "payload.order"),
            ({"order": 7.5}, "payload.order"),
            ({"order": None}, "payload.order"),
            ({}, "payload.order"),
            ({"order": 7, "price": "1"}, "payload.price"),
            ({"order": 7, "gift": 1}, "payload.gift"),
            ({"order": 7, "note": 5}, "payload.note"),
            ({"order": 7, "lines": {}}, "payload.lines"),
            ({"order": 7, "lines": [{"article": "a"}, {"article": 7}]}, "payload.lines[1].article"),
            ({"order": 7, "facts": {"a": "b"}}, "payload.facts.a"),
            ({"order": 7, "after": {"order": "8"}}, "payload.after.order"),
            ([7], "payload"),
            (None, "payload"),
        ],
        ids=repr,
    )
    def test_what_does_not_fit_is_refused_by_its_place(self, payload, place):
        with pytest.raises(InvalidMessage) as caught:
            as_type(Order).read(payload)
        sentence = str(caught.value)
        assert sentence.startswith(f"{place} does not fit Order: ")
        assert sentence.endswith(".")
        assert sentence.count(".") == place.count(".") + 1

    def test_what_fits_no_part_of_a_union_is_refused(self):
        order = as_type(Order)
        assert [order.read({"order": 7, "key": key}).key for key in (1, "a")] == [1, "a"]
        with pytest.raises(InvalidMessage, match=r"^payload\.key.* does not fit Order: "):
            order.read({"order": 7, "key": []})

    def test_an_object_that_could_not_be_read_again_is_refused(self):
        with pytest.raises(InvalidMessage, match=r"^payload\.lines\[0\]\.pieces does not fit Order: "):
            as_type(Order).plain(Order(7, lines=[Line("tea", "many")]))

    def test_what_no_database_holds_is_refused_by_its_place(self):
        with pytest.raises(InvalidMessage, match=r"^payload\.price is nan: JSON has no NaN"):
            as_type(Order).plain(Order(7, price=float("nan")))

    def test_an_object_within_itself_is_refused(self):
        order = Order(7)
        order.after = order
        with pytest.raises(InvalidMessage, match="is not JSON: "):
            as_type(Order).plain(order)

    def test_the_payload_is_not_in_the_sentence_nor_behind_it(self):
        with pytest.raises(InvalidMessage) as caught:
            as_type(Order).read({"order": "s3cret"})
        assert "s3cret" not in str(caught.value)
        assert caught.value.__suppress_context__

    def test_a_class_that_refuses_values_itself_says_why(self):
        @dataclass
        class Even:
            n: int

            def __post_init__(self) -> None:
                if self.n % 2:
                    raise ValueError("it is odd")

        with pytest.raises(InvalidMessage, match=r"^payload does not fit .*Even: .*it is odd\.$"):
            as_type(Even).read({"n": 3})

    def test_a_class_that_is_no_dataclass_is_refused(self):
        class Bare:
            n: int

        with pytest.raises(InvalidMessage, match=r"Bare is not a dataclass: @message_type goes above"):
            message_type("t:x")(Bare)


class TestWithPydantic:
    def test_dataclasses_may_have_what_json_does_not(self):
        dated = as_type(Dated)
        message = Dated(datetime(2030, 1, 1, tzinfo=UTC), UUID(int=7), Decimal("9.50"))
        assert dated.plain(message) == {"at": "2030-01-01T00:00:00Z", "id": str(UUID(int=7)), "price": "9.50"}
        assert dated.read(dated.plain(message)) == message
        with pytest.raises(InvalidMessage, match=r"^payload\.at does not fit Dated: input should be a valid"):
            dated.read({"at": "soon"})

    def test_models_have_their_own_rules(self):
        model = as_type(Model)
        assert model.plain(Model(n=3)) == {"n": 3}
        assert model.read({"n": "3"}) == Model(n=3)
        with pytest.raises(InvalidMessage, match=r"^payload\.n does not fit Model: input should be greater"):
            model.plain(Model.model_construct(pieces=0))

    def test_what_pydantic_cannot_check_is_refused_in_a_sentence(self):
        class Strange: ...

        @dataclass
        class Wrapping:
            it: Strange

        Wrapping.__annotations__["it"] = Strange
        Wrapping.__dataclass_fields__["it"].type = Strange
        with pytest.raises(InvalidMessage, match="Wrapping cannot be a message type: ") as caught:
            message_type("t:x")(Wrapping)
        assert "\n" not in str(caught.value)

    @pytest.mark.usefixtures("no_pydantic")
    @pytest.mark.parametrize("cls", [Line, Dated])
    def test_where_it_is_missing_the_decorator_says_what_to_install(self, cls):
        sentence = (
            rf"\.{cls.__name__} is checked by pydantic 2, which is not installed: "
            r"pip install 'django-letsgo-worker\[typed\]'\.$"
        )
        with pytest.raises(InvalidMessage, match=sentence):
            message_type("t:x")(cls)
        assert typed.find(cls) is None


class TestTheRegistry:
    def test_two_classes_of_a_type_are_an_error(self):
        as_type(Order)
        with pytest.raises(
            DuplicateMessageType,
            match=r"'t:x': .*\.Order \(line \d+\) and .*\.Line \(line \d+\)\. Give one of them another",
        ):
            as_type(Line)

    def test_the_same_class_imported_again_is_none(self):
        first = as_type(Line)
        again = dataclass(type("Line", (), {"__annotations__": {"article": str}, "__module__": __name__}))
        assert as_type(again).cls is again
        assert typed.find(first.cls) is first

    def test_a_class_is_of_one_type(self):
        as_type(Line)
        as_type(Line)
        with pytest.raises(InvalidMessage, match=r"Line is already the message type 't:x'\.$"):
            as_type(Line, "t:y")

    def test_a_bad_type_is_refused_at_once(self):
        with pytest.raises(InvalidMessage, match="^The type 'no good' is refused"):
            message_type("no good")


class TestHandlers:
    def test_a_handler_of_the_class_is_one_of_its_type(self):
        as_type(Order)

        @handler(Order, queue="orders", where={"gift": True})
        def give(delivery): ...

        found = registry.choose("t:x", {"order": 7, "gift": True})
        assert (found.type, found.queue) == ("t:x", "orders")
        assert found.place == registry.Handler(type="t:x", function=give).place

    def test_two_of_them_are_an_error_as_ever(self):
        as_type(Order)
        handler(Order)(print)
        with pytest.raises(DuplicateHandler):
            handler("t:x")(len)

    def test_an_async_one_is_async(self):
        as_type(Order)

        @handler(Order)
        async def work(delivery): ...

        assert registry.get("t:x").is_async
        with pytest.raises(TypeError, match="The handler of 't:x' is async"):
            handler(Order, atomic=True)(work)

    def test_it_can_be_scheduled_and_removed(self):
        as_type(Order)

        @schedule("@daily", payload={"order": 7})
        @handler(Order)
        def work(delivery): ...

        assert [one.type for one in declarations.declared() if one.name == "t:x"] == ["t:x"]
        registry.remove(Order)
        assert registry.find("t:x") is None

    def test_a_class_without_the_decorator_is_no_type(self):
        with pytest.raises(InvalidMessage, match=r"^A type is text, not type\.$"):
            handler(Order)
