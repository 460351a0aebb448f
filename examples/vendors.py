"""The invented vendors that ERP and document store both know, and the contracts between them."""

from dataclasses import dataclass
from datetime import date

FIRST_NAMES = (
    "Halden", "Birkwood", "Calder", "Dunmore", "Elmstad", "Fjordline", "Granmark", "Hollins", "Isarwerk", "Jurabois",
    "Kestrel", "Lindqvist", "Marlow", "Nordhavn", "Oakhurst", "Pellworm", "Quayside", "Rosendal", "Silverton", "Tarnby",
)  # fmt: skip
TRADES = ("Supply", "Logistics", "Components", "Packaging", "Instruments", "Textiles", "Cold Storage", "Castings")
HOMES = (("SE", "SEK", "AB"), ("DE", "EUR", "GmbH"), ("GB", "GBP", "Ltd"), ("NL", "EUR", "BV"), ("DK", "DKK", "ApS"))
TERMS_DAYS = (30, 30, 45, 30, 60, 15, 30, 90)

FIRST_VENDOR_NUMBER = 10201
FIRST_CONTRACT_NUMBER = 4789
HALDEN = 10233  # the vendor of the finance workflow: its signed amendment is not yet in the ERP
UNSIGNED = 10207  # its amendment waits for a signature
APPLIED = 10212  # its signed amendment is in the ERP already
HOSTILE = 10219  # a note in its file gives orders to whoever reads it


@dataclass(frozen=True)
class Vendor:
    """A vendor as its contract describes it; `days` is what the original contract says."""

    number: int
    name: str
    country: str
    currency: str
    days: int
    contract: str
    agreed_on: date

    @property
    def vendor_id(self) -> str:
        return f"V-{self.number}"


@dataclass(frozen=True)
class Amendment:
    """A later change of the payment clause. Unsigned ones bind nobody."""

    number: int
    vendor: int
    days: int
    effective_on: date
    signed_on: date | None
    in_erp: bool = False


AMENDMENTS = (
    Amendment(1, HALDEN, 60, date(2027, 1, 1), date(2026, 4, 12)),
    Amendment(1, UNSIGNED, 45, date(2026, 12, 1), None),
    Amendment(1, APPLIED, 45, date(2026, 3, 1), date(2026, 1, 20), in_erp=True),
)


def vendors() -> list[Vendor]:
    """The forty vendors, always the same."""
    return [_vendor(index) for index in range(40)]


def _vendor(index: int) -> Vendor:
    number = FIRST_VENDOR_NUMBER + index
    # Steps that share no factor with the lists' lengths, so that neighbours differ in name, trade and home.
    country, currency, form = HOMES[(index * 2 + 1) % 5]
    first_name = FIRST_NAMES[(index * 7 + 16) % 20]
    trade = TRADES[(index * 3) % 8]
    return Vendor(
        number=number,
        name=f"{first_name} {trade} {form}",
        country=country,
        currency=currency,
        days=TERMS_DAYS[(index * 5) % 8],
        contract=f"CON-{FIRST_CONTRACT_NUMBER + index}",
        agreed_on=date(2023 + index % 3, 1 + (index * 5) % 12, 1 + (index * 11) % 28),
    )
