import io
import json
import logging
import re
import warnings
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from loguru import logger
from pydantic import BaseModel, ValidationError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from bot.monitoring import logs

TOKEN: Final = "1000001:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"
OLD_TOKEN: Final = "1000001:BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"
STRANGERS_TOKEN: Final = "1000002:CCHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"
PASSWORD: Final = "it's \"p@ss"
IN_AN_ADDRESS: Final = "it%27s%20%22p%40ss"
QUOTED: Final = repr(PASSWORD)[1:-1]
PASSWORD_FORMS: Final = (PASSWORD, IN_AN_ADDRESS, QUOTED)
SECRETS: Final = (TOKEN.partition(":")[2], OLD_TOKEN.partition(":")[2], PASSWORD)

Style = Literal["text", "json"]


@pytest.fixture(params=["text", "json"])
def style(request: pytest.FixtureRequest) -> Style:
    chosen: Style = request.param
    return chosen


@pytest.fixture
def stream(style: Style) -> io.StringIO:
    stream = io.StringIO()
    logs.configure("INFO", style, SECRETS, stream)
    return stream


def assert_hidden(stream: io.StringIO) -> None:
    written = stream.getvalue()
    assert "***" in written, "the secret was on its way into the line"
    for secret in (*SECRETS, *PASSWORD_FORMS, STRANGERS_TOKEN.partition(":")[2]):
        assert secret not in written
        assert json.dumps(secret)[1:-1] not in written


@pytest.mark.criterion("S7")
@pytest.mark.parametrize("token", [TOKEN, OLD_TOKEN, STRANGERS_TOKEN])
async def test_an_http_error_does_not_show_the_token_of_its_address(stream: io.StringIO, token: str) -> None:
    async with TestServer(web.Application()) as server, aiohttp.ClientSession() as session:
        answer = await session.get(server.make_url(f"/bot{token}/getMe"))
        with pytest.raises(aiohttp.ClientResponseError, match=token) as caught:
            answer.raise_for_status()
    logger.opt(exception=caught.value).error("Telegram: {}", caught.value)
    assert_hidden(stream)


@pytest.mark.criterion("S7")
async def test_a_database_error_does_not_show_the_password(stream: io.StringIO) -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError, match=re.escape(QUOTED)) as caught:
            await connection.execute(text("SELECT 1 FROM nowhere WHERE password = :password"), {"password": PASSWORD})
    await engine.dispose()
    logger.opt(exception=caught.value).error("the database refuses")
    assert_hidden(stream)


@pytest.mark.criterion("S7")
def test_a_validation_error_does_not_show_what_it_quotes(stream: io.StringIO) -> None:
    class Model(BaseModel):
        number: int

    with pytest.raises(ValidationError, match=re.escape(QUOTED)) as caught:
        Model.model_validate({"number": PASSWORD})
    logger.opt(exception=caught.value).error("invalid")
    assert_hidden(stream)


@pytest.mark.criterion("S7")
@pytest.mark.parametrize("form", PASSWORD_FORMS)
def test_a_secret_is_hidden_wherever_it_stands(stream: io.StringIO, form: str) -> None:
    logger.info("postgresql+asyncpg://desk:{}@db/desk", form)
    logger.bind(url=f"postgresql+asyncpg://desk:{form}@db/desk", password=form).info("bound")
    logging.getLogger("aiogram").error("password %s", form)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"password {form}", stacklevel=1)
    error = LookupError("the last")
    error.__cause__ = ExceptionGroup("the first", [ValueError(form), OSError(form)])
    logger.opt(exception=error).error("a group")
    assert stream.getvalue().count("***") == 7
    assert_hidden(stream)


@pytest.mark.criterion("S7")
def test_the_values_of_variables_stand_in_no_traceback(stream: io.StringIO) -> None:
    on_the_way = "a value that only a local variable has"
    try:
        on_the_way.index("not in it")
    except ValueError:
        logger.exception("failed")
    assert "failed" in stream.getvalue()
    assert on_the_way not in re.sub('on_the_way = ".+"', "", stream.getvalue())


def log_a_payment() -> None:
    bound = logger.bind(telegram_id=7, charge_id="stx 1", event_type="telegram_stars.successful_payment", reason=None)
    bound.info("granted")


@pytest.mark.criterion("O1")
@pytest.mark.parametrize("style", ["json"], indirect=True)
def test_a_json_line_is_one_flat_object(stream: io.StringIO) -> None:
    log_a_payment()
    line = json.loads(stream.getvalue())
    time = line.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    assert datetime.now(UTC) - datetime.fromisoformat(time) < timedelta(minutes=1)
    assert line == {
        "level": "INFO",
        "logger": __name__,
        "message": "granted",
        "telegram_id": 7,
        "charge_id": "stx 1",
        "event_type": "telegram_stars.successful_payment",
        "reason": None,
    }


@pytest.mark.criterion("O1")
@pytest.mark.parametrize("style", ["text"], indirect=True)
def test_a_text_line_shows_what_is_bound(stream: io.StringIO) -> None:
    log_a_payment()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z INFO     \S+: granted"
        r'  telegram_id=7  charge_id="stx 1"  event_type=telegram_stars.successful_payment\n',
        stream.getvalue(),
    )


@pytest.mark.criterion("O6")
@pytest.mark.parametrize("style", ["json"], indirect=True)
def test_an_error_is_one_line_with_its_context_and_traceback(stream: io.StringIO) -> None:
    with pytest.raises(LookupError) as caught:
        {"a plan": 1}["no such plan"]
    logger.bind(charge_id="stx").opt(exception=caught.value).error("not settled")
    line = json.loads(stream.getvalue())
    assert line["charge_id"] == "stx"
    assert line["exception"].startswith("Traceback (most recent call last):")
    assert line["exception"].endswith("KeyError: 'no such plan'")


@pytest.mark.parametrize("style", ["json"], indirect=True)
def test_bound_value_cannot_replace_level_or_message(stream: io.StringIO) -> None:
    logger.bind(level="none", message="none").info("said")
    line = json.loads(stream.getvalue())
    assert (line["level"], line["message"]) == ("INFO", "said")


@pytest.mark.parametrize("style", ["text"], indirect=True)
def test_a_bound_value_cannot_make_a_line_of_its_own(stream: io.StringIO) -> None:
    logger.bind(username='x\nERROR: y "z"').info("said")
    assert stream.getvalue().endswith('said  username="x\\nERROR: y \\"z\\""\n')


@pytest.mark.parametrize("style", ["json"], indirect=True)
@pytest.mark.parametrize(("level", "heard"), [("DEBUG", ["INFO", "WARNING"]), ("INFO", ["WARNING"]), ("ERROR", [])])
def test_libraries_are_heard_when_something_is_wrong(stream: io.StringIO, level: str, heard: list[str]) -> None:
    logs.configure(level, "json", stream=stream)
    library = logging.getLogger("alembic.runtime")
    library.info("running upgrade %s", 1)
    library.warning("odd")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in lines] == heard
    assert {line["logger"] for line in lines} <= {"alembic.runtime"}


@pytest.mark.parametrize("style", ["json"], indirect=True)
def test_a_librarys_own_level_is_kept_by_its_number(stream: io.StringIO) -> None:
    logging.getLogger("odd").log(45, "between the levels")
    assert json.loads(stream.getvalue())["level"] == "Level 45"
