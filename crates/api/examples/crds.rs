//! Writes the CustomResourceDefinitions: `crds --write <folder>`. With `--distil <api__v1_openapi.json>` it makes
//! `data/pod-template.schema.json` anew from Kubernetes' OpenAPI document and prints it.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--write", folder] => {
            fs::create_dir_all(folder)?;
            for definition in serin_api::crd::all() {
                fs::write(Path::new(folder).join(definition.file_name()), definition.yaml())?;
            }
            fs::write(
                Path::new(folder).join("kustomization.yaml"),
                serin_api::crd::kustomization(),
            )?;
        }
        ["--distil", file] => {
            let document = serde_json::from_str(&fs::read_to_string(file)?)?;
            println!("{:#}", serin_api::crd::distil(&document)?);
        }
        _ => return Err("usage: crds --write <folder> | --distil <api__v1_openapi.json>".into()),
    }
    Ok(())
}
