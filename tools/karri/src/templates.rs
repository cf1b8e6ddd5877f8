//! `karri iam templates`: the shipped roles for delegation, listed, shown, compared and installed.

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use karri_iam_service::ADMIN_ACCOUNT;
use karri_iam_templates::{Template, differences};
use karri_ring_node::join;
use karri_ring_rpc::Method;

use crate::cluster;
use crate::config::Config;
use crate::iam::{INSTALL_ROLE, InstallRole, Installed, ROLE_POLICY};

/// Prints what there is.
pub(crate) fn list() {
    for template in karri_iam_templates::all() {
        println!("{:<28} {}", template.name, template.description);
        for (name, parameter) in &template.parameters {
            let default = parameter.default.as_ref().map(|default| format!(" [{default}]")).unwrap_or_default();
            println!("    {name}=...{default}  {}", parameter.description);
        }
    }
}

fn find(name: &str) -> Result<Template> {
    karri_iam_templates::find(name).ok_or_else(|| anyhow!("there is no template {name}"))
}

fn render(template: &Template, values: &[String]) -> Result<String> {
    let pair = |value: &String| -> Result<(String, String)> {
        let (name, value) = value.split_once('=').with_context(|| format!("{value} is not name=value"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    let pairs = values.iter().map(pair).collect::<Result<Vec<_>>>()?;
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Ok(template.render(&pairs)?)
}

/// Prints a template's policy with these values.
pub(crate) fn show(name: &str, values: &[String]) -> Result<()> {
    println!("{}", render(&find(name)?, values)?);
    Ok(())
}

/// Where a template is, or is to be, in an account.
pub(crate) struct Place<'a> {
    pub(crate) config: &'a Config,
    pub(crate) account: Option<&'a str>,
    /// Name of the role; the template's when left out.
    pub(crate) role: Option<&'a str>,
}

impl Place<'_> {
    async fn ask(&self, method: Method, template: &Template, document: String) -> Result<Installed> {
        let request = InstallRole {
            account: self.account.unwrap_or(ADMIN_ACCOUNT).to_owned(),
            role: self.role.unwrap_or(&template.name).to_owned(),
            policy: template.name.clone(),
            document,
        };
        let credentials = cluster::existing(self.config)?;
        let address = self.config.rpc.advertised();
        let head = Bytes::from(serde_json::to_vec(&request)?);
        let response = join::call_running(&credentials, &address, method, head).await;
        let response = response.with_context(|| format!("ask the node at {address}"))?;
        let installed = serde_json::from_slice(&response.body).context("read the node's answer")?;
        if let Installed::NoSuchAccount = installed {
            bail!("there is no account {}", request.account);
        }
        Ok(installed)
    }
}

/// Makes the role in the account, or replaces the template's policy in it.
pub(crate) async fn install(place: Place<'_>, name: &str, values: &[String]) -> Result<()> {
    let template = find(name)?;
    let document = render(&template, values)?;
    match place.ask(INSTALL_ROLE, &template, document).await? {
        Installed::Role { arn } => println!("{arn}"),
        _ => bail!("the node gave another answer"),
    }
    Ok(())
}

/// Prints how the policy in the account differs from the template.
pub(crate) async fn diff(place: Place<'_>, name: &str, values: &[String]) -> Result<()> {
    let template = find(name)?;
    let ours = render(&template, values)?;
    let Installed::Policy { document } = place.ask(ROLE_POLICY, &template, String::new()).await? else {
        bail!("the node gave another answer");
    };
    let Some(theirs) = document else {
        println!("{} is not installed", template.name);
        return Ok(());
    };
    let lines = differences(&theirs, &ours);
    if lines.is_empty() {
        println!("{} is installed as it is shipped", template.name);
    }
    for line in lines {
        println!("{line}");
    }
    Ok(())
}
