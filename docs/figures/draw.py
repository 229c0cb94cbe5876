"""Draws the pictures of the manual: `python -m docs.figures.draw` writes them next to itself."""

from pathlib import Path

from docs.figures.picture import Picture


def overview() -> Picture:
    """A request on its way to the store."""
    picture = Picture("A request goes from the browser to Jam, which keeps the session", 396)
    picture.box(100, 16, 200, 34, "Browser")
    picture.line((200, 50), (200, 96))
    picture.text(212, 70, "a cookie: the session id,", "quiet")
    picture.text(212, 87, "and nothing else", "quiet")
    picture.box(40, 96, 320, 52, "Your application", "FastAPI, Flask, Django, or none")
    picture.line((200, 148), (200, 186))
    picture.text(212, 172, "session_get(id)", "code")
    picture.box(40, 186, 320, 52, "Jam", "one API, sync and asyncio")
    picture.line((200, 238), (200, 262))
    picture.box(40, 262, 320, 30, "wrappers: telemetry, audit", kind="plain")
    picture.line((200, 292), (200, 316))
    for number, (name, what) in enumerate(
        [("JSON", "files"), ("Redis", "Valkey"), ("SQL", "database"), ("yours", "plugin")]
    ):
        picture.box(16 + 94 * number, 316, 86, 50, name, what, kind="goodbox")
    picture.text(200, 386, "the store: one line of configuration", "quiet", "middle")
    return picture


def race() -> Picture:
    """An update that races a log-out, without and with Jam."""
    picture = Picture("A log-out races an update: without Jam the session comes back", 590)

    def race_at(top: float, *, reads: str, ends: str, writes: str, kind: str) -> None:
        for x, name in ((66, "tab 1"), (200, "tab 2"), (334, "store")):
            picture.text(x, top, name, "strong", "middle")
            picture.line((x, top + 8), (x, top + 196), kind="line dash", tip=False)
        picture.line((66, top + 28), (334, top + 28))
        picture.text(76, top + 22, reads, f"{kind} over")
        picture.line((200, top + 68), (334, top + 68))
        picture.text(206, top + 62, ends, kind)
        picture.text(326, top + 88, "gone", "good", "end")
        picture.line((66, top + 118), (334, top + 118))
        picture.text(76, top + 112, writes, f"{kind} over")

    picture.text(16, 28, "A store that reads, then writes", "title")
    race_at(56, reads="reads the session", ends="logs out: delete", writes="writes its data back",
            kind="quiet")  # fmt: skip
    picture.box(196, 192, 188, 50, "The session is back", "with all its rights", kind="badbox")

    picture.line((16, 282), (384, 282), kind="line", tip=False)
    picture.text(16, 312, "Jam", "title")
    race_at(340, reads="session_get", ends="session_delete", writes="session_update", kind="code")
    picture.line((334, 486), (66, 486))
    picture.text(76, 480, "JamSessionNotFound", "code over")
    picture.box(16, 512, 368, 62, "What ended stays ended", "on every store, across threads,",
                "processes and hosts", kind="goodbox")  # fmt: skip
    return picture


def life() -> Picture:
    """A session from its creation to its end."""
    picture = Picture("The life of a session: what restarts the ttl, and what ends it", 372)
    picture.text(16, 28, "ttl = 1 hour, max_age = 3 hours", "title")
    left, hour = 30.0, 110.0
    rows = [
        (0.0, "session_create", "starts the ttl"),
        (0.75, "session_update", "restarts it"),
        (1.5, "session_touch", "restarts it"),
        (2.3, "session_mutate", "restarts it, up to max_age"),
    ]
    for number, (begin, call, what) in enumerate(rows):
        y, x = 50 + 58 * number, left + hour * begin
        end = min(begin + 1, 3)
        picture.box(x, y + 20, hour * (end - begin), 14)
        words_at, anchor = (x, "start") if begin < 1 else (x + hour * (end - begin) - 6, "end")
        picture.text(words_at, y + 14, call, "code", anchor)
        picture.text(words_at, y + 49, what, "quiet", anchor)
    picture.line((left + 3 * hour, 44), (left + 3 * hour, 290), kind="line dash", tip=False)
    picture.line((left, 290), (384, 290))
    for n in range(4):
        picture.text(left + hour * n, 308, f"{n} h", "quiet", "middle")
    picture.text(16, 336, "session_get never extends it. session_delete,", "quiet")
    picture.text(16, 355, "session_clear and session_revoke end it at once.", "quiet")
    return picture


def login() -> Picture:
    """A visitor logs in, wrong and right."""
    picture = Picture("Log-in of a visitor: give the session a new id and its user's key", 520)

    def session(y: float, session_id: str, key: str, kind: str) -> None:
        picture.box(16, y, 368, 34, "", kind=kind)
        picture.text(28, y + 22, f"id {session_id}", "code")
        picture.text(372, y + 22, f"session key: {key}", "", "end")

    picture.text(16, 28, "Wrong", "title")
    session(42, "A1", "visitor 7f3a", "plain")
    picture.line((200, 76), (200, 112))
    picture.text(212, 99, "update: user = ann", "quiet")
    session(112, "A1", "visitor 7f3a", "badbox")
    picture.text(16, 172, "Whoever else knows A1 is now Ann.", "bad")
    picture.text(16, 194, '"Log out everywhere" does not end it.', "bad")
    picture.line((16, 216), (384, 216), kind="line", tip=False)
    picture.text(16, 248, "Right", "title")
    session(262, "A1", "visitor 7f3a", "plain")
    picture.line((200, 296), (200, 350))
    picture.text(212, 317, 'session_rework(A1,', "code")  # fmt: skip
    picture.text(212, 336, 'session_key="ann")', "code")
    session(350, "B2", "ann", "goodbox")
    picture.text(16, 412, "One step: A1 is dead the moment B2 lives.", "good")
    picture.text(16, 434, "The data came along; the lifetime starts now.", "good")
    picture.text(16, 456, '"My devices" lists it.', "good")
    picture.text(16, 478, '"Log out everywhere" ends it.', "good")
    picture.text(16, 504, "Send B2 as the new cookie.", "quiet")
    return picture


def rotation() -> Picture:
    """A key is replaced in three steps."""
    picture = Picture("Rotating an encryption key in three steps; nobody is logged out", 416)
    steps = [
        ("1. Every process learns the new key", "old,new", "old", "old and new"),
        ("2. Every process uses the new key", "new,old", "new", "new and old"),
        ("3. Drop the old key, after jam rekey", "new", "new", "new"),
    ]
    for number, (title, value, writes, reads) in enumerate(steps):
        y = 16 + 128 * number
        picture.text(16, y + 16, title, "title")
        last = number == len(steps) - 1
        picture.box(16, y + 28, 368, 74, "", kind="goodbox" if last else "box")
        picture.text(28, y + 48, f"JAM_SESSION_AES_SECRET={value}", "code")
        picture.text(28, y + 70, f"encrypts with: {writes}", "quiet")
        picture.text(28, y + 90, f"can decrypt: {reads}", "quiet")
        if not last:
            picture.line((200, y + 102), (200, y + 126))
    picture.text(16, 402, "Restart all processes between the steps.", "quiet")
    return picture


def choice() -> Picture:
    """Which store to take."""
    picture = Picture("Which store: a decision tree", 436)
    questions = [
        (("Do you run Redis", "or Valkey?"), ("Redis",)),
        (("Do you run PostgreSQL,", "MariaDB or MySQL?"), ("SQLAlchemy",)),
        (("Several hosts that", "share a volume?"), ("JSON", "a directory")),
        (("Do all sessions fit in each", "process's memory?"), ("JSON", "one document")),
    ]
    for number, ((first, second), store) in enumerate(questions):
        y = 16 + 94 * number
        picture.box(16, y, 208, 54, kind="plain")
        picture.text(120, y + 23, first, "", "middle")
        picture.text(120, y + 42, second, "", "middle")
        picture.line((224, y + 27), (268, y + 27))
        picture.text(244, y + 21, "yes", "quiet", "middle")
        picture.box(268, y + 4, 116, 46, *store, kind="goodbox")
        picture.line((120, y + 54), (120, y + 94))
        picture.text(130, y + 79, "no", "quiet")
    picture.box(62, 392, 116, 34, "SQLite", kind="goodbox")
    return picture


PICTURES = {
    "overview": overview,
    "race": race,
    "life": life,
    "login": login,
    "rotation": rotation,
    "choice": choice,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        Path(__file__).with_name(f"{name}.svg").write_text(draw().svg(), encoding="utf-8")
