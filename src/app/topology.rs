//! What a configuration asks for at its message broker, printed or looked for.

use std::sync::Arc;

use super::{StartError, SystemClock, carrier};
use crate::backends::rabbitmq::{Address, Names, Object, Options, RabbitBroker, objects};
use crate::cli::{Checking, Failure};
use crate::config::{BrokerKind, Config};
use crate::domain::ids::SystemName;
use crate::views::topology::{Edge, Party, Permission, Placed, Topology};

/// Where it is, as long as no server is asked.
const ANYWHERE: &str = "amqp://localhost";

fn options(config: &Config) -> Result<Options, Failure> {
    carrier::options(config, Arc::new(SystemClock)).map_err(|error| StartError::Broker(error).into())
}

/// What there has to be. Asks no server, and needs no address of one.
pub(super) fn print(config: &Config) -> Result<Topology, Failure> {
    let options = match config.broker.kind {
        BrokerKind::Rabbitmq => options(config)?,
        BrokerKind::Embedded => {
            let address = Address::parse(ANYWHERE).map_err(Failure::from)?;
            carrier::shaped(config, address, Arc::new(SystemClock)).map_err(Failure::from)?
        }
    };
    let placed = |object: &Object| -> Result<Placed, Failure> {
        Ok(Placed { text: object.to_string(), fields: serde_json::to_value(object).map_err(Failure::internal)? })
    };
    let all = objects(&options).iter().map(placed).collect::<Result<_, _>>()?;
    Ok(Topology { objects: all, permissions: permissions(config, &options), edge: edge(config, &options) })
}

fn edge(config: &Config, options: &Options) -> Edge {
    let (names, push) = (&options.names, options.push_updates);
    // An address prints as scheme://host:port/vhost, without credentials.
    let address = options.address.to_string();
    let (protocol, rest) = address.split_once("://").unwrap_or(("amqp", &address));
    let party = |system: &SystemName| Party {
        system: system.to_string(),
        user: user_of(config, system),
        queue: push.then(|| names.updates(system)),
    };
    Edge {
        protocol: protocol.to_owned(),
        host: rest.split('/').next().unwrap_or(rest).to_owned(),
        vhost: options.address.vhost().to_owned(),
        inbound: names.inbound(),
        outbound: push.then(|| names.outbound()),
        events: config.orchestration.events.then(|| names.events()),
        require_user_id: config.broker.require_user_id,
        parties: config.systems.keys().map(party).collect(),
    }
}

/// Whom the adapter of a system signs in as.
fn user_of(config: &Config, system: &SystemName) -> String {
    config.systems.get(system).and_then(|settings| settings.amqp_user.clone()).unwrap_or_else(|| system.to_string())
}

fn permissions(config: &Config, options: &Options) -> Vec<Permission> {
    let (names, vhost) = (&options.names, options.address.vhost().to_owned());
    let user = match config.broker.kind {
        BrokerKind::Rabbitmq => options.address.user().unwrap_or("syncline").to_owned(),
        BrokerKind::Embedded => "syncline".to_owned(),
    };
    let all = format!("^{}\\.", escaped(&config.broker.prefix));
    let ours = Permission {
        user,
        purpose: "the orchestrator".to_owned(),
        vhost: vhost.clone(),
        configure: all.clone(),
        write: all.clone(),
        read: all,
        topic: None,
    };
    let adapters = config.systems.keys().map(|system| adapter(names, system, user_of(config, system), &vhost, options.push_updates));
    std::iter::once(ours).chain(adapters).collect()
}

/// An adapter publishes under its own name, and consumes from its own queue.
fn adapter(names: &Names, system: &SystemName, user: String, vhost: &str, pushes: bool) -> Permission {
    let only = |name: &str| format!("^{}$", escaped(name));
    Permission {
        user,
        purpose: format!("the adapter of {system}"),
        vhost: vhost.to_owned(),
        configure: "^$".to_owned(),
        write: only(&names.inbound()),
        read: if pushes { only(&names.updates(system)) } else { "^$".to_owned() },
        topic: Some((names.inbound(), format!("^{}\\.", escaped(system.as_str())))),
    }
}

/// Text as a regular expression that means just this text.
fn escaped(text: &str) -> String {
    let mut expression = String::new();
    for c in text.chars() {
        if !c.is_alphanumeric() && c != '_' && c != '-' {
            expression.push('\\');
        }
        expression.push(c);
    }
    expression
}

/// Looks whether it is there; returns what is not, a line each.
pub(super) fn check(config: Config) -> Checking {
    Box::pin(async move {
        if config.broker.kind == BrokerKind::Embedded {
            return Err(Failure::usage("there is nothing to check: [broker] kind = \"embedded\" keeps its queues itself"));
        }
        let wrong = RabbitBroker::check(&options(&config)?).await.map_err(|error| Failure::from(StartError::Broker(error)))?;
        Ok(wrong.iter().map(|(object, why)| format!("{object}: {why}")).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_toml(text, "t.toml").unwrap()
    }

    const PUSHES: &str = r#"
[broker]
kind = "rabbitmq"
url = "amqps://main:hunter2@mq.example.com/flow"
prefix = "sora.flow"
[orchestration]
push_updates = true
[systems.bms]
[systems.oem]
amqp_user = "oem-adapter"
"#;

    #[test]
    fn it_is_all_there_in_order() {
        let topology = print(&config(PUSHES)).unwrap();
        let lines: Vec<&str> = topology.objects.iter().map(|placed| placed.text.as_str()).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        exchange sora.flow.dead (fanout, durable)
        queue sora.flow.dead (durable, x-queue-type=quorum, x-delivery-limit=1000000000)
        binding sora.flow.dead → sora.flow.dead (key #)
        exchange sora.flow.inbound (topic, durable)
        queue sora.flow.orchestrator (durable, x-queue-type=quorum, x-single-active-consumer=true, x-delivery-limit=10000, x-dead-letter-exchange=sora.flow.dead, x-dead-letter-strategy=at-least-once, x-overflow=reject-publish)
        binding sora.flow.inbound → sora.flow.orchestrator (key #)
        exchange sora.flow.outbound (topic, durable)
        queue sora.flow.updates.bms (durable, x-queue-type=quorum, x-delivery-limit=1000000000)
        binding sora.flow.outbound → sora.flow.updates.bms (key bms)
        queue sora.flow.updates.oem (durable, x-queue-type=quorum, x-delivery-limit=1000000000)
        binding sora.flow.outbound → sora.flow.updates.oem (key oem)
        ");
        let json = serde_json::to_string(&topology).unwrap();
        assert!(!json.contains("hunter2"), "{json}");
    }

    #[test]
    fn without_push_there_is_no_way_out() {
        let topology = print(&config("[broker]\nkind = \"rabbitmq\"\nurl = \"amqp://localhost\"\npartitions = 3\n[systems.oem]")).unwrap();
        let text: Vec<&str> = topology.objects.iter().map(|placed| placed.text.as_str()).collect();
        let text = text.join("\n");
        assert!(!text.contains("outbound") && !text.contains("updates"), "{text}");
        assert!(text.contains("binding syncline.partitions → syncline.orchestrator.2 (key 1)"), "{text}");
        assert!(text.ends_with("binding syncline.inbound → syncline.partitions (key #)"), "{text}");
        assert_eq!(topology.permissions[1].read, "^$");
    }

    #[test]
    fn an_adapter_may_only_speak_and_hear_for_itself() {
        let permissions = print(&config(PUSHES)).unwrap().permissions;
        assert_eq!((permissions[0].user.as_str(), permissions[0].configure.as_str()), ("main", "^sora\\.flow\\."));
        assert_eq!(
            permissions[2],
            Permission {
                user: "oem-adapter".to_owned(),
                purpose: "the adapter of oem".to_owned(),
                vhost: "flow".to_owned(),
                configure: "^$".to_owned(),
                write: "^sora\\.flow\\.inbound$".to_owned(),
                read: "^sora\\.flow\\.updates\\.oem$".to_owned(),
                topic: Some(("sora.flow.inbound".to_owned(), "^oem\\.".to_owned())),
            }
        );
    }
}
