"""The baseline's tables: jobs, and an image for each prediction of a job."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ForeignKey, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker

KST = ZoneInfo("Asia/Seoul")


def now() -> datetime:
    return datetime.now(KST)


class Base(DeclarativeBase):
    pass


class Job(Base):
    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(default="PENDING")  # PENDING, PROCESSING, COMPLETED or FAILED
    original_s3_key: Mapped[str]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    images: Mapped[list[Image]] = relationship(back_populates="job")


class Image(Base):
    __tablename__ = "images"

    prediction_id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    seed: Mapped[int]
    status: Mapped[str] = mapped_column(default="PROCESSING")  # PROCESSING, COMPLETED or FAILED
    s3_key: Mapped[str | None]
    job: Mapped[Job] = relationship(back_populates="images")


engine = create_engine(os.environ["DATABASE_URL"], connect_args={"timeout": 30})
Session = sessionmaker(engine)


@event.listens_for(engine, "connect")
def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions, because `_on_begin` does
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


@event.listens_for(engine, "begin")
def _on_begin(connection: Any) -> None:
    # Two concurrent webhooks must wait for each other. SQLAlchemy's documentation recommends this.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
