"""Arrow's own S3 client: Parquet written and read by ranges, streams of parts, directories.

    parquet.py ENDPOINT
"""

import os
import sys

import pyarrow as pa
import pyarrow.dataset as dataset
import pyarrow.fs as fs
import pyarrow.parquet as parquet

ROWS = 200_000


def main():
    scheme, host = sys.argv[1].split("://")
    s3 = fs.S3FileSystem(
        endpoint_override=host,
        scheme=scheme,
        tls_ca_file_path=os.environ.get("SSL_CERT_FILE"),
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region="us-east-1",
        allow_bucket_creation=True,
        allow_bucket_deletion=True,
    )
    s3.create_dir("lake")
    table = pa.table(
        {
            "id": pa.array(range(ROWS)),
            "text": pa.array([f"row {number * 7919 % ROWS}" for number in range(ROWS)]),
            "part": pa.array([number % 4 for number in range(ROWS)]),
        }
    )
    parquet.write_table(table, "lake/table.parquet", filesystem=s3, row_group_size=20_000)
    few = parquet.read_table("lake/table.parquet", filesystem=s3, columns=["id"], filters=[("id", ">=", ROWS - 10)])
    assert few.column("id").to_pylist() == list(range(ROWS - 10, ROWS)), few
    assert parquet.read_table("lake/table.parquet", filesystem=s3).equals(table)

    parquet.write_to_dataset(table, "lake/parts", partition_cols=["part"], filesystem=s3)
    parts = dataset.dataset("lake/parts", filesystem=s3, partitioning="hive")
    assert parts.count_rows(filter=dataset.field("part") == 2) == ROWS // 4

    with s3.open_output_stream("lake/stream") as stream:
        for number in range(12):
            stream.write(bytes([number]) * 1_000_000)
    with s3.open_input_file("lake/stream") as file:
        assert file.size() == 12_000_000
        assert file.read_at(4, 10_999_998) == bytes([10, 10, 11, 11])
    s3.move("lake/stream", "lake/moved")
    s3.delete_dir("lake/parts")
    names = sorted(info.path for info in s3.get_file_info(fs.FileSelector("lake", recursive=True)))
    assert names == ["lake/moved", "lake/table.parquet"], names
    if "versioned" not in os.environ["KARRI_CLIENT_SETTING"]:
        s3.delete_dir("lake")
    print("fine")


main()
