"""An adapter in Python, written from docs/adapter-guide.md alone: a system called "shop" whose records are a dictionary.

    pip install pika
    python examples/python/adapter.py amqp://guest:guest@127.0.0.1 [PREFIX]

The configuration must know it: [systems.shop], as at the end of config/rabbitmq-mongodb.toml.

Commands on stdin, one a line:  edit s1 name=Fan  ·  delete s1  ·  list
"""
import json, sys, threading, uuid
import pika

url, prefix = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "syncline"
records, applied = {}, {}  # native id -> record, None once it is deleted; canonical id -> (epoch, rev, native id)
parameters = pika.URLParameters(url)
connection = pika.BlockingConnection(parameters)
channel = connection.channel()
channel.confirm_delivery()


def publish(message):
    """Hands a message in; returns once RabbitMQ has it. The routing key keeps everything about one record in order."""
    message = {"id": str(uuid.uuid4()), "system": "shop", "type": "device", **message}
    key = f"shop.device.{message['native_id']}"
    user = parameters.credentials.username  # RabbitMQ checks that it is true, and Syncline that it is the system's
    properties = pika.BasicProperties(content_type="application/json", delivery_mode=2, user_id=user)
    channel.basic_publish(f"{prefix}.inbound", key, json.dumps(message), properties, mandatory=True)


def report(native_id):
    """The whole record, with the last message it had seen when it was read: that makes the comparison exact."""
    base = next((rev for _, rev, known in applied.values() if known == native_id), None)
    publish({"native_id": native_id, "entity": records[native_id], **({"base": base} if base else {})})


def apply(channel, method, _properties, body):
    """Find or create, update, delete; answered before anything that is read afterwards; never an older message over a newer."""
    message = json.loads(body)
    entity, status = message["entity"], "applied"
    epoch, rev, native_id = applied.get(message["canonical_id"], (0, 0, None))
    native_id = message["native_id"] or native_id
    if (message["epoch"], message["rev"]) > (epoch, rev):
        same = (known for known, record in records.items() if record and record.get("serial") == entity.get("serial"))
        if message["op"] == "delete":
            records[native_id] = None
        elif native_id in records and records[native_id] is None:
            status = "failed"  # deleted here a moment ago; the broker is being told
        else:
            native_id = native_id or next(same, None) or f"s{len(records) + 1}"
            records[native_id] = {**entity, "id": native_id}
        if status == "applied":
            # It may have been known as another record: then it is that one no more.
            applied.update({key: (epoch, rev, None) for key, (epoch, rev, known) in applied.items() if known == native_id})
            applied[message["canonical_id"]] = (message["epoch"], message["rev"], native_id if records[native_id] else None)
    publish({"op": "receipt", "native_id": native_id, "canonical_id": message["canonical_id"], "rev": message["rev"], "status": status})
    channel.basic_ack(method.delivery_tag)


def command(line):
    match line.split():
        case ["list"]:
            print(json.dumps({known: record for known, record in records.items() if record}, sort_keys=True), flush=True)
        case ["edit", native_id, *fields]:
            records[native_id] = {**(records.get(native_id) or {"id": native_id}), **dict(field.split("=", 1) for field in fields)}
            report(native_id)
        case ["delete", native_id]:
            records[native_id] = None
            # Should it be wanted back, it comes as a create: a new record.
            applied.update({key: (epoch, rev, None) for key, (epoch, rev, known) in applied.items() if known == native_id})
            publish({"op": "delete", "native_id": native_id})


def listen():
    for line in sys.stdin:
        connection.add_callback_threadsafe(lambda line=line: command(line))
    connection.add_callback_threadsafe(channel.stop_consuming)


channel.basic_consume(f"{prefix}.updates.shop", apply)
threading.Thread(target=listen, daemon=True).start()
channel.start_consuming()
connection.close()
