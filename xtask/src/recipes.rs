//! `cargo xtask recipes`: the recipes whose tools no distribution has, applied and validated.
//!
//! Not a step of the gate, which runs the others: these tools come from elsewhere, each by the line that is printed
//! where it is missing. Invariant: nothing is asked beyond loopback, but by `terraform init` for its provider.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tools::cargo::run as run_command;
use tools::{programs, target_dir};

/// The programs, and how to get each.
const TOOLS: [(&str, &str); 4] = [
    ("terraform", "see https://developer.hashicorp.com/terraform/install"),
    ("moto_server", "pip install 'moto[server]'"),
    ("kubectl", "see https://kubernetes.io/docs/tasks/tools"),
    ("kubernetes-validate", "pip install kubernetes-validate"),
];

const AWS: &str = "docs/recipes/aws-nlb-fargate";
const KUBERNETES: &str = "docs/recipes/kubernetes";

/// Runs the command.
///
/// # Errors
/// When a tool is missing, does not take a recipe, or reads back something else than was written.
pub(crate) fn run() -> Result<()> {
    let missing = missing(|program| programs::find(program).is_some());
    if !missing.is_empty() {
        bail!("these recipes take programs that are not here:\n{}", missing.join("\n"));
    }
    let dir = target_dir().join("recipes");
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    kubernetes(&dir)?;
    aws(&dir)
}

/// A line for each tool that is not here.
fn missing(is_here: impl Fn(&str) -> bool) -> Vec<String> {
    let missing = TOOLS.iter().filter(|(program, _)| !is_here(program));
    missing.map(|(program, install)| format!("    {program}: {install}")).collect()
}

/// What kustomize makes of the files is what the API knows, to the last key.
fn kubernetes(dir: &Path) -> Result<()> {
    let built = dir.join("kubernetes.yaml");
    let mut kustomize = Command::new("kubectl");
    kustomize.args(["kustomize", KUBERNETES, "--output"]).arg(&built);
    run_command(&mut kustomize)?;
    run_command(Command::new("kubernetes-validate").arg("--strict").arg(&built))
}

/// Applies the module to an AWS of our own, and reads it back.
fn aws(dir: &Path) -> Result<()> {
    let dir = dir.join("aws");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let moto = Moto::start()?;
    let module = Path::new(AWS).canonicalize().with_context(|| AWS.to_owned())?;
    let text =
        CALLER.replace("{url}", &moto.url).replace("{module}", &module.display().to_string());
    fs::write(dir.join("main.tf"), text)?;

    run_command(Command::new("terraform").args(["fmt", "-check", "-diff", AWS]))?;
    for words in [
        &["init", "-input=false"][..],
        &["validate"],
        &["apply", "-input=false", "-auto-approve"],
        // What moto has, and no more what was said to it.
        &["apply", "-input=false", "-auto-approve", "-refresh-only"],
    ] {
        run_command(terraform(&dir).args(words))?;
    }
    let output = terraform(&dir).args(["show", "-json"]).output().context("terraform show")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    read_back(&serde_json::from_slice(&output.stdout)?)
}

fn terraform(dir: &Path) -> Command {
    let mut command = Command::new("terraform");
    command.env("TF_IN_AUTOMATION", "1").arg(format!("-chdir={}", dir.display()));
    command
}

/// Who calls the module: a network of its own, and a provider that asks moto.
const CALLER: &str = r#"
provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true

  endpoints {
    ec2   = "{url}"
    ecs   = "{url}"
    elbv2 = "{url}"
    iam   = "{url}"
    logs  = "{url}"
    sts   = "{url}"
  }
}

resource "aws_vpc" "this" {
  cidr_block = "10.0.0.0/16"
}

resource "aws_subnet" "each" {
  count             = 2
  vpc_id            = aws_vpc.this.id
  cidr_block        = "10.0.${count.index}.0/24"
  availability_zone = "eu-central-1${["a", "b"][count.index]}"
}

module "recipe" {
  source     = "{module}"
  vpc_id     = aws_vpc.this.id
  subnet_ids = aws_subnet.each[*].id
  clients    = ["203.0.113.0/24"]
  image      = "registry.example.com/ppserver:0.1.0"
}
"#;

/// What of the state decides whether clients are believed, and none is lost.
fn read_back(state: &Value) -> Result<()> {
    let resources = state["values"]["root_module"]["child_modules"][0]["resources"].as_array();
    let resources = resources.context("the state has the module's resources")?;
    let find = |kind: &str, name: &str| {
        let found = resources.iter().find(|one| one["type"] == kind && one["name"] == name);
        found.map(|one| &one["values"]).with_context(|| format!("there is no {kind}.{name}"))
    };
    let group = find("aws_lb_target_group", "this")?;
    same("proxy_protocol_v2", &group["proxy_protocol_v2"], &true.into())?;
    same("preserve_client_ip", &group["preserve_client_ip"], &"false".into())?;
    same("the check", &group["health_check"][0]["protocol"], &"TCP".into())?;

    let balancer = find("aws_lb", "this")?;
    let of_balancer = find("aws_security_group", "balancer")?;
    let of_task = find("aws_security_group", "task")?;
    same("the balancer's group", &balancer["security_groups"][0], &of_balancer["id"])?;
    let tasks: Vec<_> = resources
        .iter()
        .filter(|one| one["type"] == "aws_vpc_security_group_ingress_rule")
        .map(|one| &one["values"])
        .filter(|rule| rule["security_group_id"] == of_task["id"])
        .collect();
    ensure!(tasks.len() == 1, "a task is reached by one rule, and not by {tasks:?}");
    // moto has its owner in front.
    let who = tasks[0]["referenced_security_group_id"].as_str().unwrap_or_default();
    let who = who.rsplit('/').next().unwrap_or_default();
    same("who reaches a task", &who.into(), &of_balancer["id"])?;
    let service = find("aws_ecs_service", "this")?;
    let groups = &service["network_configuration"][0]["security_groups"];
    same("the task's group", groups, &vec![of_task["id"].clone()].into())?;

    let task = find("aws_ecs_task_definition", "this")?;
    let containers = task["container_definitions"].as_str().context("a text")?;
    let containers: Vec<Value> = serde_json::from_str(containers)?;
    let ours = containers.iter().find(|one| one["name"] == "ppserver").context("ppserver")?;
    let environment = ours["environment"].as_array().context("a list")?;
    let trust = environment.iter().find(|one| one["name"] == "PPSERVER_TRUST");
    let trust = &trust.context("PPSERVER_TRUST")?["value"];
    same("the trust", trust, &"10.0.0.0/24,10.0.1.0/24".into())?;
    same("stopTimeout", &ours["stopTimeout"], &30.into())?;
    same("who is there until we end", &ours["dependsOn"][0]["containerName"], &"squid".into())
}

fn same(what: &str, found: &Value, expected: &Value) -> Result<()> {
    ensure!(found == expected, "{what} is {found}, and not {expected}");
    Ok(())
}

/// An AWS in memory, at a port of loopback; it ends with the value.
#[derive(Debug)]
struct Moto {
    child: Child,
    url: String,
}

impl Moto {
    fn start() -> Result<Self> {
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::piped()).spawn().context("moto_server does not start")?;
        let mut moto = Self { child, url: String::new() };
        let mut said = BufReader::new(moto.child.stderr.take().context("it is piped")?).lines();
        let url = said
            .by_ref()
            .map_while(io::Result::ok)
            .find_map(|line| line.split_once("Running on ").map(|(_, url)| url.trim().to_owned()));
        moto.url = url.context("moto_server ends without an address")?;
        // A line a request: nobody reads them, and it must not wait for that.
        thread::spawn(move || said.for_each(drop));
        Ok(moto)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It has ended already, or it ends now; either is well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_program_that_is_missing_is_named_with_what_brings_it() {
        let missing = missing(|program| program != "kubernetes-validate");
        assert_eq!(missing, ["    kubernetes-validate: pip install kubernetes-validate"]);
    }

    /// A state as Terraform shows it, as far as it is looked at.
    fn state() -> Value {
        let containers = json!([
            {"name": "squid"},
            {
                "name": "ppserver",
                "environment": [{"name": "PPSERVER_TRUST", "value": "10.0.0.0/24,10.0.1.0/24"}],
                "stopTimeout": 30,
                "dependsOn": [{"containerName": "squid", "condition": "START"}],
            },
        ]);
        let resource = |kind: &str, name: &str, values: Value| json!({"type": kind, "name": name, "values": values});
        let resources = json!([
            resource(
                "aws_lb_target_group",
                "this",
                json!({
                    "proxy_protocol_v2": true,
                    "preserve_client_ip": "false",
                    "health_check": [{"protocol": "TCP"}],
                })
            ),
            resource("aws_lb", "this", json!({"security_groups": ["sg-1"]})),
            resource("aws_security_group", "balancer", json!({"id": "sg-1"})),
            resource("aws_security_group", "task", json!({"id": "sg-2"})),
            resource(
                "aws_vpc_security_group_ingress_rule",
                "balancer_to_tasks",
                json!({
                    "security_group_id": "sg-2",
                    "referenced_security_group_id": "123456789012/sg-1",
                })
            ),
            resource(
                "aws_ecs_service",
                "this",
                json!({
                    "network_configuration": [{"security_groups": ["sg-2"]}],
                })
            ),
            resource(
                "aws_ecs_task_definition",
                "this",
                json!({
                    "container_definitions": containers.to_string(),
                })
            ),
        ]);
        json!({"values": {"root_module": {"child_modules": [{"resources": resources}]}}})
    }

    #[test]
    fn a_state_is_taken_and_one_in_which_strangers_would_be_believed_is_not() {
        read_back(&state()).unwrap();
        for (at, value) in [
            ("0/values/proxy_protocol_v2", json!(false)),
            ("0/values/preserve_client_ip", json!("true")),
            ("1/values/security_groups/0", json!("sg-3")),
            ("4/values/referenced_security_group_id", json!("")),
            ("5/values/network_configuration/0/security_groups", json!(["sg-2", "sg-3"])),
            ("6/values/container_definitions", json!("[]")),
        ] {
            let mut state = state();
            let at = format!("/values/root_module/child_modules/0/resources/{at}");
            *state.pointer_mut(&at).unwrap() = value;
            assert!(read_back(&state).is_err(), "{at}");
        }
        let mut open = state();
        let rule = json!({
            "type": "aws_vpc_security_group_ingress_rule", "name": "open",
            "values": {"security_group_id": "sg-2", "cidr_ipv4": "0.0.0.0/0"},
        });
        let at = "/values/root_module/child_modules/0/resources";
        open.pointer_mut(at).unwrap().as_array_mut().unwrap().push(rule);
        assert!(read_back(&open).is_err(), "a task that everybody reaches");
    }
}
