"""What every contender is asked to do, and with what data."""

DATA = {
    "user": "ann@example.org",
    "role": "admin",
    "theme": "dark",
    "cart": [1001, 1002, 1003],
    "csrf": "f3a1c0de5b7e4d2f9a8b6c4d2e0f1a3b",
    "last_seen": 1764000000.25,
    "flash": ["Welcome back, Ann"],
    "locale": "en",
}
CHANGED = {**DATA, "theme": "light", "cart": [1001, 1002, 1003, 1004]}

OPERATIONS = ("get", "create", "update", "touch", "rework", "delete", "clear")

TTL = 3600
SESSIONS_PER_KEY = 2
CLEARED = 3  # sessions of the key that is cleared
