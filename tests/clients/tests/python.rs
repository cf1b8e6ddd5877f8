//! aws-cli and boto3.

use anyhow::{Result, ensure};
use karri_tests_clients::{Encryption, Setting, Workbench, python_client, same_tree};

async fn aws(bench: &Workbench, node: usize, args: &[&str]) -> Result<String> {
    let endpoint = bench.endpoint(node);
    let mut all = vec!["--endpoint-url", endpoint.as_str()];
    all.extend_from_slice(args);
    bench.run(&python_client("aws")?, &all).await
}

async fn everyday_aws(nodes: usize, setting: Setting) -> Result<()> {
    let bench = Workbench::start_in(nodes, setting).await?;
    let tree = bench.tree("tree")?;
    let large = bench.file("large.bin", 3, 21 << 20)?.display().to_string();
    let source = tree.display().to_string();
    aws(&bench, 0, &["s3", "mb", "s3://aws-bucket"]).await?;
    bench.dress("aws-bucket").await?;
    aws(&bench, 1, &["s3", "cp", &large, "s3://aws-bucket/large.bin"]).await?;
    aws(&bench, 2, &["s3", "cp", "s3://aws-bucket/large.bin", &bench.text_path("got.bin")]).await?;
    ensure!(std::fs::read(&large)? == std::fs::read(bench.path("got.bin"))?, "the upload differs");
    aws(&bench, 0, &["s3", "sync", &source, "s3://aws-bucket/tree"]).await?;
    aws(&bench, 1, &["s3", "sync", "s3://aws-bucket/tree", &bench.text_path("back")]).await?;
    same_tree(&tree, &bench.path("back"))?;
    let listing = aws(&bench, 2, &["s3", "ls", "--recursive", "--summarize", "s3://aws-bucket"]).await?;
    ensure!(listing.contains("Total Objects: 7"), "{listing}");
    aws(&bench, 0, &["s3", "mv", "s3://aws-bucket/large.bin", "s3://aws-bucket/moved.bin"]).await?;
    let url = aws(&bench, 1, &["s3", "presign", "s3://aws-bucket/moved.bin"]).await?;
    bench.run(std::path::Path::new("curl"), &["-sf", "-o", &bench.text_path("url.bin"), url.trim()]).await?;
    ensure!(std::fs::read(&large)? == std::fs::read(bench.path("url.bin"))?, "the presigned download differs");

    let bucket = ["--bucket", "aws-bucket"];
    let api = async |node: usize, command: &str, args: &[&str]| {
        let mut all = vec!["s3api", command];
        all.extend_from_slice(&bucket);
        all.extend_from_slice(args);
        aws(&bench, node, &all).await
    };
    let head = api(2, "head-object", &["--key", "moved.bin", "--checksum-mode", "ENABLED"]).await?;
    ensure!(head.contains("\"ContentLength\": 22020096") && head.contains("Checksum"), "{head}");
    let attributes = api(
        0,
        "get-object-attributes",
        &["--key", "moved.bin", "--object-attributes", "ETag", "ObjectSize", "ObjectParts"],
    )
    .await?;
    ensure!(attributes.contains("\"ObjectSize\": 22020096"), "{attributes}");
    ensure!(
        api(1, "list-objects-v2", &["--prefix", "tree/", "--delimiter", "/"]).await?.contains("CommonPrefixes"),
        "v2"
    );
    ensure!(api(2, "get-bucket-location", &[]).await?.contains("LocationConstraint"), "location");
    ensure!(api(0, "get-bucket-acl", &[]).await?.contains("FULL_CONTROL"), "acl");
    api(1, "get-bucket-versioning", &[]).await?;
    let (found, _, errors) = {
        let endpoint = bench.endpoint(1);
        let args = ["--endpoint-url", &endpoint, "s3api", "get-bucket-policy", "--bucket", "aws-bucket"];
        bench.try_run(&python_client("aws")?, &args).await?
    };
    ensure!(!found && errors.contains("NoSuchBucketPolicy"), "{errors}");
    bench.check_dressed("aws-bucket", "moved.bin").await?;
    aws(&bench, 2, &["s3", "rm", "--recursive", "s3://aws-bucket"]).await?;
    bench.undress("aws-bucket").await?;
    aws(&bench, 0, &["s3", "rb", "s3://aws-bucket"]).await?;
    Ok(())
}

async fn everyday_boto3(nodes: usize, setting: Setting) -> Result<()> {
    let bench = Workbench::start_in(nodes, setting).await?;
    let script = format!("{}/boto3/everyday.py", env!("CARGO_MANIFEST_DIR"));
    let endpoints: Vec<String> = (0..3).map(|node| bench.endpoint(node)).collect();
    let mut args = vec![script];
    args.extend(endpoints);
    let output = bench.run(&python_client("python")?, &args).await?;
    ensure!(output.trim_end().ends_with("boto3: all passed"), "{output}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_cli_on_one_node() -> Result<()> {
    everyday_aws(1, Setting::chosen()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_cli_on_three_nodes() -> Result<()> {
    everyday_aws(3, Setting::chosen()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_on_one_node() -> Result<()> {
    everyday_boto3(1, Setting::chosen()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_on_three_nodes() -> Result<()> {
    everyday_boto3(3, Setting::chosen()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_cli_with_tls_versions_and_encryption() -> Result<()> {
    everyday_aws(3, Setting::everything(Encryption::S3)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_with_tls_versions_and_encryption() -> Result<()> {
    everyday_boto3(3, Setting::everything(Encryption::Kms)).await
}
