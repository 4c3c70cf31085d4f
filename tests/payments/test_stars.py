"""The channel of Stars, given answers that are not Telegram's, and answers that only Telegram gives."""

import pytest

from payments.channel import RefundOrder
from payments.errors import ChannelAwayError
from payments.stars import StarsChannel
from tests.support.bots import talking_bot
from tests.support.money import TOKEN
from tests.support.proxies import BAD_GATEWAY, proxy_that_answers

ORDER = RefundOrder("refund:charge-1", "first", False, "charge-1", 200, "XTR", 5001)


@pytest.mark.criterion("E1")
@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (BAD_GATEWAY, 502, "ClientDecodeError: JSONDecodeError"),
        (BAD_GATEWAY, 400, "ClientDecodeError: JSONDecodeError"),
        ('{"message": "no upstream"}', 502, "ClientDecodeError: ValidationError"),
        ('{"ok": false, "description": "Unauthorized"}', 401, "TelegramUnauthorizedError: Unauthorized"),
    ],
    ids=["a page", "a page that refuses", "JSON of another form", "the token is refused"],
)
async def test_answer_of_a_proxy_is_no_refusal_of_the_refund(answer: str, status: int, words: str) -> None:
    async with proxy_that_answers(answer, status=status) as proxy, talking_bot(proxy.url, TOKEN) as bot:
        with pytest.raises(ChannelAwayError) as caught:
            await StarsChannel(bot).refund(ORDER)
    assert str(caught.value) == words
    assert proxy.asked == ["refundStarPayment"]
