"""Server-side sessions from a configuration file: log in, log out, and what is on the disk."""

from pathlib import Path

from jam import Jam

HERE = Path(__file__).parent


def show(call: str, answer: object) -> None:
    print(f"  {call:<62} -> {answer}")


def main() -> None:
    with Jam(config=HERE / "config.toml") as jam:
        print(f"\nexamples/config.toml chose the store: {jam.store!r}\n")

        print("Ann logs in on two devices.")
        laptop = jam.session_create(session_key="ann", data={"role": "admin"})
        phone = jam.session_create(session_key="ann", data={"role": "admin"})
        show("session_create('ann', {'role': 'admin'})", laptop)
        show("session_create('ann', {'role': 'admin'})", phone)

        print("\nEach request reads its session; a guess finds nothing.")
        show("session_get(laptop)", jam.session_get(laptop))
        show("session_get('guess')", jam.session_get("guess"))

        print("\nData is replaced whole, or changed so that no other request's change is lost.")
        jam.session_update(laptop, {"role": "banned"})
        show("session_update(laptop, {'role': 'banned'})", jam.session_get(laptop))
        mutated = jam.session_mutate(phone, lambda data: {**data, "cart": ["jam"]})
        show("session_mutate(phone, lambda data: {**data, 'cart': ['jam']})", mutated)

        print(
            "\nA visitor logs in: the session becomes Ann's, under a new id; the old one is dead."
        )
        visitor = jam.session_create(session_key="visitor 7f3a", data={"cart": ["tea"]})
        tablet = jam.session_rework(visitor, session_key="ann")
        show("session_rework(visitor, session_key='ann')", tablet)
        show("session_get(visitor)", jam.session_get(visitor))
        show("session_get(tablet)", jam.session_get(tablet))

    print("\nsessions.json, once closed, keeps no id, only its SHA-256:\n")
    print(Path("sessions.json").read_text())

    with Jam(config=HERE / "config.toml") as jam:
        print("After a restart the sessions are still there; 'log out everywhere' ends them.")
        show("session_get(tablet)", jam.session_get(tablet))
        jam.session_clear(session_key="ann")
        show("session_clear('ann'); session_get(tablet)", jam.session_get(tablet))


if __name__ == "__main__":
    main()
