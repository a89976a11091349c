"""The live study's commands: ``python -m xai_course.study`` with ``serve``, ``stimuli`` and so on."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import sys

from xai_course.study import protocols

DATABASE = "sqlite:///_study/study.db"
LOCAL = ("127.0.0.1", "localhost", "::1")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m xai_course.study", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve_ = commands.add_parser("serve", help="start the study's server")
    serve_.add_argument("--host", default="127.0.0.1", help="0.0.0.0: every machine of this network may join")
    serve_.add_argument("--port", type=int, default=8000)
    serve_.add_argument("--address", help="how participants reach it, if not by this machine's own address")
    names = [protocol.id for protocol in protocols.all_protocols()]
    serve_.add_argument("--protocol", default="which-class", choices=names, help="which study to open")
    commands.add_parser("stimuli", help="draw the pictures anew")
    commands.add_parser("examples", help="make the example data anew, with simulated raters")
    simulate_ = commands.add_parser("simulate", help="let simulated raters take part in a running study")
    simulate_.add_argument("address", help="the address that participants open, http://host:port/s/CODE")
    simulate_.add_argument("--raters", type=int, default=30)
    options = parser.parse_args(arguments)
    return {"serve": serve, "stimuli": stimuli, "examples": examples, "simulate": simulate}[options.command](
        options
    )


def stimuli(_: argparse.Namespace) -> int:
    from xai_course.study.stimuli import render

    for name, count in render().items():
        print(f"{name}: {count} pictures are asked about")
    return 0


def examples(_: argparse.Namespace) -> int:
    from xai_course.study.analysis import EXAMPLES, analyse
    from xai_course.study.simulate import simulated_export

    for protocol in protocols.all_protocols():
        export = simulated_export(protocol, 60, seed=1, careless=2)
        text = json.dumps(export, separators=(",", ":"), ensure_ascii=False)
        (EXAMPLES / f"{protocol.id}.json").write_text(text + "\n", encoding="utf-8")
        print(f"{protocol.id}: {analyse(export)}\n")
    return 0


def simulate(options: argparse.Namespace) -> int:
    from xai_course.study.simulate import take_part

    print(take_part(options.address, options.raters))
    return 0


def serve(options: argparse.Namespace) -> int:
    """Open a study, say how to reach it, and serve until the keyboard interrupts."""
    try:
        import segno
        import uvicorn

        from xai_course.study.server import SERVED, create_app
        from xai_course.study.store import Store
    except ImportError as error:
        print(f"{error}. The study needs its extra: pip install -e '.[study]', or `make study`.")
        return 1
    password = os.environ.get("STUDY_PASSWORD") or "-".join(secrets.token_hex(2) for _ in range(3))
    address = options.address or f"http://{reached_at(options.host)}:{options.port}"
    store = Store(os.environ.get("STUDY_DATABASE", DATABASE))
    open_ones = [s for s in store.studies() if s.open and s.protocol.id == options.protocol]
    study = open_ones[0] if open_ones else store.new_study(options.protocol)
    join = f"{address.rstrip('/')}/s/{study.code}"
    print(f"\n{study.protocol.texts['title']['en']}\n")
    segno.make(join, error="m", micro=False).terminal(compact=True, border=2)
    print(f"\n  Participants open   {join}")
    print(f"  You project         {address}/teacher/s/{study.code}/screen")
    print(f"  You steer           {address}/teacher        password: {password}")
    print(f"  Answers are kept in {store.address}\n")
    print(notice(options.host), flush=True)
    uvicorn.run(
        create_app(store, password, address=address),
        host=options.host,
        port=options.port,
        **SERVED,
    )
    store.close()
    return 0


def notice(host: str) -> str:
    """What whoever starts the server must know of who can reach and read it."""
    if host in LOCAL:
        return (
            "Only this machine can reach it. To let a class in, stop it (Ctrl-C) and start it with\n"
            "  make study HOST=0.0.0.0\n"
        )
    return (
        "Everybody on this network can reach it, and it speaks plain HTTP: whoever can listen on the\n"
        "network (a shared wireless network, for one) can read the answers, the participants' random tokens\n"
        "and the teacher's password. No names are asked. If that is not good enough, put it behind an HTTPS\n"
        "proxy and give its address with --address. Stop it (Ctrl-C) when the lesson is over.\n"
    )


def reached_at(host: str) -> str:
    """The address by which other machines of this network reach a server that listens on ``host``."""
    if host not in ("0.0.0.0", "::", ""):
        return f"[{host}]" if ":" in host else host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # chooses the way out; a datagram socket sends nothing by this
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


if __name__ == "__main__":
    sys.exit(main())
