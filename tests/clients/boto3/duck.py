"""DuckDB and its own S3 client (httpfs): Parquet written in parts, read by ranges, listed by patterns.

    duck.py ENDPOINT
"""

import os
import sys
from pathlib import Path

import duckdb
import duckdb_ext

ROWS = 300_000


def connect(endpoint):
    scheme, host = endpoint.split("://")
    # The extension comes as a Python package; DuckDB loads it as a file.
    folder = Path(next(iter(duckdb_ext.__path__)))
    extension = next((folder / "extensions").glob("*/*/httpfs.duckdb_extension"))
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension}'")
    authority = os.environ.get("SSL_CERT_FILE")
    if authority:
        connection.execute(f"SET ca_cert_file = '{authority}'")
    connection.execute(
        f"""CREATE SECRET karri (TYPE s3, PROVIDER config, REGION 'us-east-1', ENDPOINT '{host}', URL_STYLE 'path',
            USE_SSL {scheme == "https"}, KEY_ID '{os.environ["AWS_ACCESS_KEY_ID"]}',
            SECRET '{os.environ["AWS_SECRET_ACCESS_KEY"]}')"""
    )
    return connection


def main():
    db = connect(sys.argv[1])
    rows = f"SELECT range AS id, 'row ' || (range * 7919 % {ROWS}) AS text, range % 4 AS part FROM range({ROWS})"
    db.execute(f"COPY ({rows}) TO 's3://ducks/table.parquet' (FORMAT parquet, ROW_GROUP_SIZE 20000)")
    few = db.sql(f"SELECT id, text FROM 's3://ducks/table.parquet' WHERE id >= {ROWS - 5} ORDER BY id").fetchall()
    assert few == [(n, f"row {n * 7919 % ROWS}") for n in range(ROWS - 5, ROWS)], few
    db.execute(f"COPY ({rows}) TO 's3://ducks/parts' (FORMAT parquet, PARTITION_BY part)")
    count, total = db.sql("SELECT count(*), sum(id) FROM 's3://ducks/parts/part=2/*.parquet'").fetchone()
    assert (count, total) == (ROWS // 4, sum(range(2, ROWS, 4))), (count, total)
    parts = db.sql("SELECT count(*) FROM read_parquet('s3://ducks/parts/**/*.parquet', hive_partitioning = true)")
    assert parts.fetchone() == (ROWS,)
    db.execute("COPY (SELECT 'a b' AS name, 1 AS n) TO 's3://ducks/odd names/a b+c=1.csv' (HEADER)")
    assert db.sql("SELECT * FROM 's3://ducks/odd names/*.csv'").fetchall() == [("a b", 1)]
    try:
        db.sql("SELECT * FROM 's3://ducks/nothing.parquet'").fetchall()
    except duckdb.Error as error:
        assert "404" in str(error), error
    else:
        raise AssertionError("read what is not there")
    print("fine")


main()
