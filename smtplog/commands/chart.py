"""Chart the replies of logs by code, in the terminal or to a picture."""

from __future__ import annotations

from smtplog.errors import UsageError
from smtplog.output import Day, Grammar, InputFormat, Output, Page, Paths, Zone, finished, leave, opened

_SUFFIXES = (".png", ".svg", ".pdf")


def command(
    paths: Paths,
    input_format: InputFormat = None,
    grammar: Grammar = None,
    date: Day = None,
    timezone: Zone = None,
    output: Output = None,
) -> None:
    """Chart the replies of logs by code: bars grouped by class, to -o FILE (.png, .svg, .pdf) or in the terminal."""
    if output is not None and output.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{output} is no picture that can be drawn; name a file that ends in {', '.join(_SUFFIXES)}")
    transcript = opened(paths, input_format, grammar, date, timezone)
    replies = transcript.summary(()).to_json()["replies"]
    if output is not None and replies:
        from smtplog.charts.replies_by_code import save

        try:
            save(replies, str(output))
        except OSError as error:
            raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    elif replies:
        _terminal(Page(), replies)
    elif not transcript.errors:
        Page().line("No reply: the logs were read and hold none.")
    leave(finished(transcript))


def _terminal(page: Page, replies: list[dict[str, object]]) -> None:
    colours = {2: "green", 3: "blue", 4: "yellow", 5: "red"}
    most = max(int(str(row["count"])) for row in replies)
    room, mark = max(page.width - 60, 12), "█" if page.unicode else "#"
    last = 0
    for row in replies:
        code, count = int(str(row["code"])), int(str(row["count"]))
        if last and code // 100 != last:
            page.line()
        last = code // 100
        bar = (mark * max(round(room * count / most), 1)).ljust(room)
        page.line(f"{code:03} {page.paint(bar, colours.get(last, ''))} {count:>9,}  {str(row['meaning'])[:42]}")
    page.close()
