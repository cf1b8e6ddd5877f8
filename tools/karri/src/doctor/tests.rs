use super::*;

#[tokio::test]
async fn a_file_that_cannot_be_read_is_told_in_one_line_with_its_key() {
    let dir = std::env::temp_dir().join(format!("karri-doctor-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("node.toml");
    std::fs::write(&path, "data_dir = \"/nowhere\"\nportt = 1\n").unwrap();
    let mut report = Report::default();
    examine(&path, &mut report).await;
    assert_eq!((report.0.len(), report.worst()), (1, Level::Error));
    assert!(report.0[0].found.contains("portt") && !report.0[0].found.contains('\n'), "{report:?}");
    let text =
        format!("data_dir = {:?}\n[s3]\nlisten = \"127.0.0.1:0\"\n[rpc]\nlisten = \"127.0.0.1:0\"\n", dir.join("data"));
    std::fs::write(&path, &text).unwrap();
    let mut report = Report::default();
    examine(&path, &mut report).await;
    assert!(report.0.iter().any(|finding| finding.check == "disk" && finding.level == Level::Error), "{report:?}");
    std::fs::create_dir(dir.join("data")).unwrap();
    let mut report = Report::default();
    examine(&path, &mut report).await;
    assert!(report.0.iter().any(|finding| finding.check == "identity" && finding.level == Level::Error), "{report:?}");
    std::fs::remove_dir_all(&dir).unwrap();
}
