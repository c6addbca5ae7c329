"""Stripe's amounts, whole numbers of a currency's smallest unit, made readable for people.

No exchange rates and no local formats are here.
"""

from __future__ import annotations

from decimal import Decimal

ZERO_DECIMAL = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"}
)
# UGX and ISK are not among them: nobody pays fractions of these, but for Stripe 500 is 5 UGX all the same.
THREE_DECIMAL = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})


def decimal_amount(amount: int, currency: str) -> Decimal:
    """Return Stripe's amount in the currency's main unit: 1099 usd is 10.99, 500 jpy 500, 1500 bhd 1.500.

    `currency` is its code of three letters, in any case. Raises TypeError when the amount is no whole
    number, ValueError when the currency is no such code.
    """
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise TypeError(f"A Stripe amount is a whole number of the smallest unit, not {amount!r}.")
    code = _code(currency)
    places = 0 if code in ZERO_DECIMAL else 3 if code in THREE_DECIMAL else 2
    # By its digits: arithmetic would round what has more digits than the decimal context.
    return Decimal((amount < 0, tuple(int(digit) for digit in str(abs(amount))), -places))


def format_amount(amount: int, currency: str) -> str:
    """Return Stripe's amount with its currency: "10.99 USD", "500 JPY", "1.500 BHD". See decimal_amount()."""
    return f"{decimal_amount(amount, currency):f} {_code(currency)}"


def _code(currency: str) -> str:
    if not isinstance(currency, str) or len(currency) != 3 or not (currency.isascii() and currency.isalpha()):
        raise ValueError(f"A currency is a three-letter code, not {currency!r}.")
    return currency.upper()
