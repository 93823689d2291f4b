pub(crate) async fn run(_: &crate::options::Options, _: &std::path::Path) -> anyhow::Result<()> {
    Ok(())
}
