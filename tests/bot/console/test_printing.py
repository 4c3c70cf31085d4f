import pytest

from bot.console.printing import money


@pytest.mark.criterion("N4")
@pytest.mark.parametrize(
    ("amount", "currency", "printed"),
    [(1, "XTR", "1 XTR"), (499, "USD", "4.99 USD"), (700, "JPY", "700 JPY"), (1500, "KWD", "1.500 KWD")],
)
def test_money_is_printed_as_its_currency_has_it(amount: int, currency: str, printed: str) -> None:
    assert money(amount, currency) == printed
