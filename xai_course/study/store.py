"""Where answers are kept: SQLite by default, PostgreSQL by its address. An acknowledged answer is on disk.

No name, no address of a machine and no time of day is kept. A participant is known by a random token, of
which only the SHA-256 is stored, so that whoever reads the database cannot answer in anybody's place.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ForeignKey,
    String,
    create_engine,
    delete,
    event,
    func,
    make_url,
    select,
    update,
)
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from xai_course.study import design, protocols
from xai_course.study.design import Trial
from xai_course.study.records import as_export

ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # nothing that is read as something else from the back row
MOST_PEOPLE = 1000  # of one study: who knows the address cannot fill the disk
SLOWEST = 3_600_000  # milliseconds; a longer answer is one of a phone that was put away


class Gone(Exception):
    """There is no such study or participant (any more)."""


class Closed(Exception):
    """The study takes no further participants."""


class _Table(DeclarativeBase):
    pass


class _Study(_Table):
    __tablename__ = "studies"
    code: Mapped[str] = mapped_column(String(8), primary_key=True)
    protocol: Mapped[str] = mapped_column(String(40))
    version: Mapped[int]
    seed: Mapped[int]
    open: Mapped[bool]
    shown: Mapped[bool]  # whether the projected page shows the result
    joined: Mapped[int]  # how many ever did: the next participant's number


class _Participant(_Table):
    __tablename__ = "participants"
    id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(String(64), unique=True)  # its SHA-256
    study: Mapped[str] = mapped_column(ForeignKey("studies.code", ondelete="CASCADE"), index=True)
    label: Mapped[str] = mapped_column(String(16))
    language: Mapped[str] = mapped_column(String(2))
    simulated: Mapped[bool]
    plan: Mapped[str]  # as JSON: a plan stays what it was, also if the protocol's file changes
    length: Mapped[int]


class _Answer(_Table):
    __tablename__ = "answers"
    participant: Mapped[int] = mapped_column(
        ForeignKey("participants.id", ondelete="CASCADE"), primary_key=True
    )
    trial: Mapped[str] = mapped_column(String(8), primary_key=True)
    answer: Mapped[str] = mapped_column(String(20))
    ms: Mapped[int]
    away: Mapped[bool]


@dataclass(frozen=True)
class Study:
    """One run of a protocol with one class."""

    code: str
    protocol: protocols.Protocol
    seed: int
    open: bool
    shown: bool
    joined: int


@dataclass(frozen=True)
class Participant:
    """Somebody who takes part: the plan, and what they answered so far by trial."""

    label: str
    language: str
    plan: list[Trial]
    answers: dict[str, str]


@dataclass(frozen=True)
class Counts:
    """How far a class is: present participants (withdrawn ones are gone), finished ones, answers."""

    people: int
    finished: int
    answers: int
    simulated: int


class Store:
    """A database of studies.

    Args:
        address: SQLAlchemy's, such as ``sqlite:///study.db`` or ``postgresql+psycopg://user@host/name``.

    Raises:
        ValueError: if it names neither SQLite nor PostgreSQL.
    """

    def __init__(self, address: str) -> None:
        url = make_url(address)
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise ValueError(
                "address must begin with sqlite:/// or postgresql+psycopg://, got "
                f"{url.render_as_string(hide_password=True)}; set STUDY_DATABASE"
            )
        if url.get_backend_name() == "sqlite":
            _make_private(url.database)
        self.address = url.render_as_string(hide_password=True)
        self.engine = create_engine(url, pool_size=10, max_overflow=30, pool_pre_ping=True)
        self._turn: Any = nullcontext()
        if url.get_backend_name() == "sqlite":
            _tune(self.engine)
            # SQLite writes one transaction at a time, and who waits for it sleeps and tries again, at worst
            # for a second. Threads that wait for each other here are woken at once.
            self._turn = threading.Lock()
        _Table.metadata.create_all(self.engine)

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _session(self):
        with self._turn, Session(self.engine) as session, session.begin():
            yield session

    # ---- studies -------------------------------------------------------------------------------------------
    def new_study(self, protocol: str, seed: int | None = None) -> Study:
        """Begin a study, open for participants, under a code that nobody can mistake."""
        known = protocols.read(protocol)
        seed = secrets.randbelow(2**31) if seed is None else seed
        with self._session() as session:
            code = "".join(secrets.choice(ALPHABET) for _ in range(5))
            while session.get(_Study, code):
                code = "".join(secrets.choice(ALPHABET) for _ in range(5))
            row = _Study(code=code, protocol=known.id, version=known.version, seed=seed)
            row.open, row.shown, row.joined = True, False, 0
            session.add(row)
            return _study(row)

    def studies(self) -> list[Study]:
        """All studies, by code."""
        with self._session() as session:
            return [_study(row) for row in session.scalars(select(_Study).order_by(_Study.code))]

    def study(self, code: str) -> Study:
        """The study of that code, in small letters or large.

        Raises:
            Gone: if there is none.
        """
        with self._session() as session:
            return _study(_found(session.get(_Study, code.upper())))

    def set_open(self, code: str, value: bool) -> None:
        """Open or close a study. Who has joined a study that is closed then, may still finish it."""
        self._set(code, open=value)

    def set_shown(self, code: str, value: bool) -> None:
        """Whether the projected page shows the result."""
        self._set(code, shown=value)

    def _set(self, code: str, **values: bool) -> None:
        with self._session() as session:
            if not session.execute(update(_Study).where(_Study.code == code).values(**values)).rowcount:
                raise Gone(code)

    def delete_study(self, code: str) -> None:
        """Delete a study with all its participants and answers."""
        with self._session() as session:
            session.execute(delete(_Study).where(_Study.code == code))

    def delete_everything(self) -> None:
        """Delete all studies, participants and answers."""
        with self._session() as session:
            session.execute(delete(_Study))

    # ---- participants --------------------------------------------------------------------------------------
    def join(self, code: str, language: str, simulated: bool = False) -> str:
        """A new participant's token: the only copy of it.

        Raises:
            Gone: if there is no such study.
            Closed: if it takes no more participants.
            ValueError: if ``language`` is none of the study's.
        """
        if language not in protocols.LANGUAGES:
            raise ValueError(f"language must be one of {', '.join(protocols.LANGUAGES)}, got {language!r}")
        token = secrets.token_urlsafe(24)
        with self._session() as session:
            takes = (_Study.code == code, _Study.open, _Study.joined < MOST_PEOPLE)
            # One statement counts and reads, so that no two participants get one number.
            number = session.scalar(
                update(_Study).where(*takes).values(joined=_Study.joined + 1).returning(_Study.joined)
            )
            study = _study(_found(session.get(_Study, code)))
            if number is None:
                raise Closed(code)
            trials = design.plan(study.protocol, number - 1, study.seed)
            session.add(
                _Participant(
                    token=_hashed(token),
                    study=code,
                    label=f"p-{secrets.token_hex(4)}",
                    language=language,
                    simulated=simulated,
                    plan=json.dumps(trials),
                    length=len(trials),
                )
            )
        return token

    def participant(self, code: str, token: str) -> Participant:
        """Who holds that token.

        Raises:
            Gone: if nobody does, or not in this study.
        """
        with self._session() as session:
            row = _holder(session, code, token)
            rows = session.execute(select(_Answer.trial, _Answer.answer).where(_Answer.participant == row.id))
            return Participant(
                row.label, row.language, json.loads(row.plan), {trial: answer for trial, answer in rows}
            )

    def answer(self, code: str, token: str, trial: str, answer: str, ms: int, away: bool = False) -> str:
        """Keep an answer. The first one to a trial counts; sending it again changes nothing.

        Returns:
            The answer that is kept: acknowledged, and on disk.

        Raises:
            Gone: if there is no such participant (any more).
            ValueError: if the plan has no such trial, or the trial no such option.
        """
        with self._session() as session:
            row = _holder(session, code, token)
            who, trials = row.id, {one["id"]: one for one in json.loads(row.plan)}
        if trial not in trials:
            raise ValueError("trial must be one of your own plan")
        if answer not in trials[trial]["options"]:
            raise ValueError(f"answer must be one of {', '.join(trials[trial]['options'])}")
        try:
            with self._session() as session:
                session.add(
                    _Answer(
                        participant=who, trial=trial, answer=answer, ms=min(max(ms, 0), SLOWEST), away=away
                    )
                )
            return answer
        except IntegrityError:  # answered before, or withdrawn meanwhile
            with self._session() as session:
                return _found(session.get(_Answer, (who, trial))).answer

    def withdraw(self, code: str, token: str) -> None:
        """Delete a participant and all that they answered.

        Raises:
            Gone: if there is no such participant (any more).
        """
        with self._session() as session:
            session.delete(_holder(session, code, token))

    def delete_participant(self, code: str, label: str) -> None:
        """Delete the participant whom an export calls by that label.

        Raises:
            Gone: if there is none.
        """
        with self._session() as session:
            matches = (_Participant.study == code, _Participant.label == label)
            if not session.execute(delete(_Participant).where(*matches)).rowcount:
                raise Gone(label)

    # ---- what came of it -----------------------------------------------------------------------------------
    def counts(self, code: str) -> Counts:
        """How far the class is."""
        with self._session() as session:
            rows = session.execute(
                select(_Participant.length, _Participant.simulated, func.count(_Answer.trial))
                .outerjoin(_Answer, _Answer.participant == _Participant.id)
                .where(_Participant.study == code)
                .group_by(_Participant.id)
            ).all()
        return Counts(
            len(rows),
            sum(given == length for length, _, given in rows),
            sum(given for *_, given in rows),
            sum(simulated for _, simulated, _ in rows),
        )

    def export(self, code: str) -> dict[str, Any]:
        """All that is known of a study, as :mod:`.analysis` reads it.

        Participants stand in the order of their random labels, which tells nothing of who came first.
        """
        protocol, people = self.study(code).protocol, {}
        with self._session() as session:
            mine = select(_Participant).where(_Participant.study == code).order_by(_Participant.label)
            for row in session.scalars(mine):
                people[row.id] = {
                    "label": row.label,
                    "language": row.language,
                    "simulated": row.simulated,
                    "plan": json.loads(row.plan),
                    "answers": {},
                }
            given = select(_Answer).join(_Participant).where(_Participant.study == code)
            for row in session.scalars(given):
                if row.participant in people:
                    people[row.participant]["answers"][row.trial] = (row.answer, row.ms, row.away)
        for one in people.values():
            one["finished"] = len(one["answers"]) == len(one["plan"])
        return as_export(protocol, people.values())


def _study(row: _Study) -> Study:
    return Study(row.code, protocols.read(row.protocol), row.seed, row.open, row.shown, row.joined)


def _found(row: Any) -> Any:
    if row is None:
        raise Gone
    return row


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _holder(session: Session, code: str, token: str) -> _Participant:
    matches = (_Participant.token == _hashed(token), _Participant.study == code)
    return _found(session.scalar(select(_Participant).where(*matches)))


def _make_private(path: str | None) -> None:
    """An empty file that only its owner may read, before the database is written into it."""
    if path and path != ":memory:" and not Path(path).exists():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch(mode=0o600)


def _tune(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, below
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "busy_timeout = 20000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        # A transaction that reads first and writes later would fail, not wait, if another wrote in between.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
