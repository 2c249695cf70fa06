// usage: ORT_DYLIB_PATH=libonnxruntime.so next-plaid-reader FOLDER TEXTS OUT
use next_plaid_onnx::{Colbert, ExecutionProvider};
use std::io::Write;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, folder, texts, out] = &args[..] else {
        anyhow::bail!("usage: next-plaid-reader FOLDER TEXTS OUT");
    };
    let texts: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(texts)?)?;
    let of = |role: &str| -> Vec<&str> {
        texts[role].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
    };
    let model = Colbert::builder(folder)
        .with_execution_provider(ExecutionProvider::Cpu)
        .with_batch_size(8)
        .build()?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(out)?);
    for rows in model
        .encode_queries(&of("query"))?
        .into_iter()
        .chain(model.encode_documents(&of("document"), None)?)
    {
        file.write_all(&(rows.nrows() as i32).to_le_bytes())?;
        for value in rows.iter() {
            file.write_all(&value.to_le_bytes())?;
        }
    }
    Ok(())
}
