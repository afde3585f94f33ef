"""The statements that a table of vectors is used by."""

from __future__ import annotations

import hashlib
from typing import Final

from psycopg import sql

from tidemill.stores.pgvector.conditions import TYPES, name_column
from tidemill.stores.pgvector.settings import PgVector
from tidemill.stores.store import FieldKind, Metric

DISTANCES: Final[dict[Metric, tuple[sql.SQL, sql.SQL]]] = {
    "cosine": (sql.SQL("<=>"), sql.SQL("vector_cosine_ops")),
    "dot": (sql.SQL("<#>"), sql.SQL("vector_ip_ops")),
    "l2": (sql.SQL("<->"), sql.SQL("vector_l2_ops")),
}
"""How pgvector compares by a metric, and what an index for that is of; `<#>` is the dot product below zero."""

_VALUES: Final[dict[FieldKind, sql.SQL]] = {
    "str": sql.SQL("payload ->> {}"),
    "int": sql.SQL("((payload ->> {})::numeric)::bigint"),  # 5.0 is a whole number, too
    "float": sql.SQL("(payload ->> {})::double precision"),
    "bool": sql.SQL("(payload ->> {})::boolean"),
}
"""A field's value in a payload."""
_INDEXED: Final[dict[FieldKind, sql.SQL]] = {"str": sql.SQL("hash"), "int": sql.SQL("btree"), "float": sql.SQL("btree")}
"""How a field's column is indexed: a text may be longer than a B-tree takes; two truths are not worth an index."""

INDEX_PREFIX: Final = "tidemill_"
"""What the names of the indexes made here begin with."""


class Statements:
    """What is said to the database of one table; the names of a user's are quoted."""

    def __init__(self, settings: PgVector) -> None:
        self._settings = settings
        self.table: Final = sql.Identifier(*settings.table.split(".", 1))
        self.distance, self._operators = DISTANCES[settings.metric]

    # The table

    def create_table(self) -> sql.Composed:
        columns = [
            sql.SQL('id text COLLATE "C" PRIMARY KEY'),
            sql.SQL("embedding vector({}) NOT NULL").format(sql.Literal(self._settings.dimensions)),
            sql.SQL("payload jsonb NOT NULL"),
            *(self._render_column(name, kind) for name, kind in self._settings.fields.items()),
        ]
        return sql.SQL("CREATE TABLE {} ({})").format(self.table, sql.SQL(", ").join(columns))

    def comment(self, text: str) -> sql.Composed:
        return sql.SQL("COMMENT ON TABLE {} IS {}").format(self.table, sql.Literal(text))

    def add_field(self, name: str) -> sql.Composed:
        column = self._render_column(name, self._settings.fields[name])
        return sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(self.table, column)

    def _render_column(self, name: str, kind: FieldKind) -> sql.Composed:
        type_ = sql.SQL(TYPES[kind] + ' COLLATE "C"' * (kind == "str"))
        value = _VALUES[kind].format(sql.Literal(name))
        column = sql.Identifier(name_column(name))
        return sql.SQL("{} {} GENERATED ALWAYS AS ({}) STORED").format(column, type_, value)

    # The indexes

    def index_field(self, name: str) -> sql.Composed | None:
        """Has the field found by its value; None where that is worth no index."""
        method = _INDEXED.get(self._settings.fields[name])
        if method is None:
            return None
        index = self._name_index(name)
        column = sql.Identifier(name_column(name))
        return sql.SQL("CREATE INDEX CONCURRENTLY IF NOT EXISTS {} ON {} USING {} ({})").format(
            index, self.table, method, column
        )

    def index_vectors(self) -> sql.Composed:
        index = self._settings.index
        return sql.SQL(
            "CREATE INDEX CONCURRENTLY {} ON {} USING hnsw (embedding {}) WITH (m = {}, ef_construction = {})"
        ).format(
            self._name_index(f"{self._settings.metric} {index.m} {index.ef_construction}"),
            self.table,
            self._operators,
            sql.Literal(index.m),
            sql.Literal(index.ef_construction),
        )

    def drop_index(self, schema: str, name: str) -> sql.Composed:
        return sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(schema, name))

    def _name_index(self, what: str) -> sql.Identifier:
        """A name that no other index has, of this table or another, and of any length of theirs."""
        digest = hashlib.sha256(f"{self._settings.table}\0{what}".encode()).hexdigest()
        return sql.Identifier(f"{INDEX_PREFIX}{digest[:32]}")

    # The records

    def upsert(self) -> sql.Composed:
        """Takes ids, vectors and payloads as three arrays."""
        rows = sql.SQL("SELECT id, embedding, payload::jsonb FROM unnest(%b::text[], %b::vector[], %b::text[])")
        return self._insert(sql.SQL("{} AS given (id, embedding, payload)").format(rows))

    def create_staging(self) -> sql.Composed:
        """A table of this transaction's, which no log is written of."""
        columns = sql.SQL("id text, embedding vector, payload jsonb")
        return sql.SQL("CREATE TEMPORARY TABLE tidemill_staging ({}) ON COMMIT DROP").format(columns)

    def insert_staged(self) -> sql.Composed:
        return self._insert(sql.SQL("SELECT id, embedding, payload FROM pg_temp.tidemill_staging"))

    def _insert(self, rows: sql.Composable) -> sql.Composed:
        return sql.SQL(
            "INSERT INTO {} (id, embedding, payload) {} "
            "ON CONFLICT (id) DO UPDATE SET embedding = EXCLUDED.embedding, payload = EXCLUDED.payload"
        ).format(self.table, rows)

    def copy(self, *, is_staged: bool) -> sql.Composed:
        """Takes rows of COPY's binary form, into the table or that for staging."""
        into = sql.SQL("pg_temp.tidemill_staging") if is_staged else self.table
        return sql.SQL("COPY {} (id, embedding, payload) FROM STDIN (FORMAT BINARY)").format(into)

    def find_next(self) -> sql.Composed:
        """The lowest id that is not below one."""
        return sql.SQL("SELECT id FROM {} WHERE id >= %s ORDER BY id LIMIT 1").format(self.table)

    def find_any(self) -> sql.Composed:
        """Whether one of an array of ids is there; each is looked up in the index, whatever the statistics say."""
        return sql.SQL(
            "SELECT EXISTS (SELECT FROM unnest(%b::text[]) AS given (id) "
            "CROSS JOIN LATERAL (SELECT FROM {} AS held WHERE held.id = given.id LIMIT 1) AS found)"
        ).format(self.table)

    def search(self, condition: sql.Composable, *, with_vectors: bool) -> sql.Composed:
        """Takes a vector, what `condition` is given, and how many records are wanted."""
        return sql.SQL(
            "SELECT 0, id, embedding {} %b AS distance, payload, {} FROM {} WHERE {} ORDER BY distance LIMIT %s"
        ).format(self.distance, _select_vector(with_vectors), self.table, condition)

    def search_many(self, condition: sql.Composable, *, with_vectors: bool) -> sql.Composed:
        """Takes an array of vectors, what `condition` is given, and how many records are wanted for each."""
        return sql.SQL(
            "SELECT given.number - 1, found.* FROM unnest(%b::vector[]) WITH ORDINALITY AS given (query, number) "
            "CROSS JOIN LATERAL (SELECT id, embedding {distance} given.query AS distance, payload, {vector} AS vector "
            "FROM {table} WHERE {condition} ORDER BY embedding {distance} given.query LIMIT %s) AS found "
            "ORDER BY given.number, found.distance"
        ).format(distance=self.distance, vector=_select_vector(with_vectors), table=self.table, condition=condition)

    def fetch(self, *, with_vectors: bool) -> sql.Composed:
        return sql.SQL("SELECT id, payload, {} FROM {} WHERE id = ANY(%s::text[])").format(
            _select_vector(with_vectors), self.table
        )

    def delete(self) -> sql.Composed:
        """Locks the records in the order that an upsert does, or each might wait for the other."""
        return sql.SQL(
            "DELETE FROM {} WHERE id IN (SELECT id FROM {} WHERE id = ANY(%s::text[]) ORDER BY id FOR UPDATE)"
        ).format(self.table, self.table)

    def count(self, condition: sql.Composable) -> sql.Composed:
        return sql.SQL("SELECT count(*) FROM {} WHERE {}").format(self.table, condition)

    def has_rows(self) -> sql.Composed:
        """Whether there are as many as are given, or more."""
        return sql.SQL("SELECT count(*) >= %s FROM (SELECT FROM {} LIMIT %s) AS first").format(self.table)

    def analyze(self) -> sql.Composed:
        return sql.SQL("ANALYZE {}").format(self.table)


def _select_vector(with_vectors: bool) -> sql.SQL:
    return sql.SQL("embedding") if with_vectors else sql.SQL("NULL::vector")
