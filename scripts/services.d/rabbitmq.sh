# RabbitMQ: the server of SYNCLINE_TEST_AMQP_URL, else a private one from the package rabbitmq-server.
# shellcheck shell=bash disable=SC2154
# Sourced by scripts/services, which gives service_dir and helpers.

rabbitmq_up() {
  if [[ -n "${SYNCLINE_TEST_AMQP_URL:-}" ]]; then
    printf 'export SYNCLINE_TEST_AMQP_URL=%q\n' "$SYNCLINE_TEST_AMQP_URL"
    return
  fi
  # The package's own starter would change to another user; what it starts will do as any user.
  local server=/usr/lib/rabbitmq/bin/rabbitmq-server
  PATH="$PATH:/usr/sbin:/usr/lib/rabbitmq/bin"
  if ! need_package rabbitmq-server rabbitmq-server || [[ ! -x "$server" ]]; then
    no_service "there is no RabbitMQ here" "Install the package rabbitmq-server, or name a server with SYNCLINE_TEST_AMQP_URL."
    return 0
  fi
  local port_file="$service_dir/port" port
  if [[ ! -f "$port_file" ]] || ! rabbitmq_runs; then
    rabbitmq_start "$server" || return 1
  fi
  port=$(<"$port_file")
  printf 'export SYNCLINE_TEST_AMQP_URL=amqp://guest:guest@127.0.0.1:%s\n' "$port"
  printf 'export SYNCLINE_TEST_RABBITMQCTL=%q\n' "$service_dir/ctl"
  if [[ -f "$service_dir/tls_port" ]]; then
    printf 'export SYNCLINE_TEST_AMQPS_URL=amqps://guest:guest@localhost:%s?cacertfile=%s/tls/ca.pem\n' "$(<"$service_dir/tls_port")" "$service_dir"
  fi
}

# An authority of our own, and a certificate for the server. Without openssl there is no TLS to test.
rabbitmq_tls() {
  local tls="$service_dir/tls"
  command -v openssl >/dev/null || return 0
  mkdir -p "$tls"
  (
    cd "$tls"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=tests -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout key.pem -out server.csr
    printf 'subjectAltName=DNS:localhost\n' >extensions
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out cert.pem
  ) >"$tls/log" 2>&1 || return 1
  free_port >"$service_dir/tls_port"
  cat >>"$service_dir/rabbitmq.conf" <<CONF
listeners.ssl.default = 127.0.0.1:$(<"$service_dir/tls_port")
ssl_options.cacertfile = $tls/ca.pem
ssl_options.certfile = $tls/cert.pem
ssl_options.keyfile = $tls/key.pem
CONF
}

rabbitmq_runs() {
  local pid_file="$service_dir/server.pid"
  [[ -s "$pid_file" ]] && kill -0 "$(<"$pid_file")" 2>/dev/null
}

rabbitmq_start() {
  local server=$1 port epmd_port
  port=$(free_port)
  epmd_port=$(free_port)
  printf '%s %s %s %s\n' "$server" "$port" "$epmd_port" "$(free_port)" >"$service_dir/place"
  mkdir -p "$service_dir/data" "$service_dir/log" "$service_dir/home"
  printf '[rabbitmq_consistent_hash_exchange].\n' >"$service_dir/enabled_plugins"
  cat >"$service_dir/rabbitmq.conf" <<CONF
listeners.tcp.default = 127.0.0.1:$port
disk_free_limit.absolute = 50MB
log.file.level = info
CONF
  rabbitmq_tls || return 1
  cat >"$service_dir/ctl" <<CTL
#!/bin/sh
# The private server's rabbitmqctl.
ERL_EPMD_PORT=$epmd_port HOME=$service_dir/home RABBITMQ_CONF_ENV_FILE=$service_dir/none
RABBITMQ_ENABLED_PLUGINS_FILE=$service_dir/enabled_plugins
export ERL_EPMD_PORT HOME RABBITMQ_CONF_ENV_FILE RABBITMQ_ENABLED_PLUGINS_FILE
exec /usr/lib/rabbitmq/bin/rabbitmqctl -n syncline-$port@localhost "\$@"
CTL
  chmod +x "$service_dir/ctl"
  rabbitmq_launch
}

# Killed as if the power had failed, and started again with what is on its disk.
rabbitmq_restart() {
  kill -KILL "$(<"$service_dir/server.pid")" || return 1
  while alive "$(<"$service_dir/server.pid")"; do sleep 0.05; done
  rm -f "$service_dir/server.pid"
  rabbitmq_launch
}

rabbitmq_launch() {
  local server port epmd_port dist_port log="$service_dir/start.log"
  read -r server port epmd_port dist_port <"$service_dir/place"
  (
    # A name server of its own, and a folder of its own for the secret between nodes: nothing of another RabbitMQ is touched.
    export ERL_EPMD_PORT=$epmd_port ERL_EPMD_ADDRESS=127.0.0.1 HOME="$service_dir/home"
    if [[ ! -s "$service_dir/epmd.pid" ]]; then
      epmd -port "$epmd_port" -address 127.0.0.1 </dev/null >/dev/null 2>&1 &
      printf '%s\n' "$!" >"$service_dir/epmd.pid"
    fi
    export RABBITMQ_NODENAME="syncline-$port@localhost" RABBITMQ_NODE_PORT=$port RABBITMQ_DIST_PORT=$dist_port
    export RABBITMQ_CONF_ENV_FILE="$service_dir/none" RABBITMQ_CONFIG_FILE="$service_dir/rabbitmq.conf"
    export RABBITMQ_ADVANCED_CONFIG_FILE="$service_dir/none" RABBITMQ_ENABLED_PLUGINS_FILE="$service_dir/enabled_plugins"
    export RABBITMQ_MNESIA_BASE="$service_dir/data" RABBITMQ_LOG_BASE="$service_dir/log" RABBITMQ_PID_FILE="$service_dir/server.pid"
    export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
    unset RABBITMQ_MNESIA_DIR RABBITMQ_LOGS
    # A session of its own, so that Ctrl-C at the tests does not take it down before its time.
    exec setsid "$server" </dev/null >"$log" 2>&1
  ) &
  for _ in {1..600}; do
    if [[ -s "$service_dir/server.pid" ]] && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      printf '%s\n' "$port" >"$service_dir/port"
      return 0
    fi
    sleep 0.1
  done
  tail -n 20 "$log" >&2
  return 1
}

rabbitmq_down() {
  local file
  for file in server.pid epmd.pid; do
    if [[ -s "$service_dir/$file" ]]; then end_process "$(<"$service_dir/$file")"; fi
  done
}
