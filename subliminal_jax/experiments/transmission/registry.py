"""What arms write behind the colon of a row's name, such as lora:8."""


def whole_number(text: str) -> int:
    """A positive whole number below a million, or 0 where the text is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0


def positive(text: str) -> float:
    """A positive number, or 0 where the text is none."""
    try:
        return max(float(text), 0.0)
    except ValueError:
        return 0.0


def rank_of(text: str) -> int:
    """R of lora:R, 0 of anything else."""
    kind, _, rest = text.partition(':')
    return whole_number(rest) if kind == 'lora' else 0
