# An HTTP forward proxy on Fargate that knows its clients: NLB -> ppserver -> squid, the latter two in one task.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.31"
    }
  }
}

data "aws_region" "here" {}

data "aws_subnet" "each" {
  count = length(var.subnet_ids)
  id    = var.subnet_ids[count.index]
}

locals {
  port  = 3128
  trust = join(",", data.aws_subnet.each[*].cidr_block)

  # ppserver.env, and whom to believe.
  environment = concat(
    [
      for line in compact(split("\n", file("${path.module}/ppserver.env"))) : {
        name  = split("=", line)[0]
        value = split("=", line)[1]
      }
    ],
    [{ name = "PPSERVER_TRUST", value = local.trust }],
  )

  logs = {
    for container in ["ppserver", "squid"] : container => {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = aws_cloudwatch_log_group.this.name
        "awslogs-region"        = data.aws_region.here.name
        "awslogs-stream-prefix" = container
      }
    }
  }
}

# The trust: nothing but the load balancer reaches a task, so nobody else says who a client is.
resource "aws_security_group" "balancer" {
  name        = "${var.name}-balancer"
  description = "Clients reach the load balancer"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  count             = length(var.clients)
  security_group_id = aws_security_group.balancer.id
  cidr_ipv4         = var.clients[count.index]
  ip_protocol       = "tcp"
  from_port         = local.port
  to_port           = local.port
}

resource "aws_vpc_security_group_egress_rule" "balancer_to_tasks" {
  security_group_id            = aws_security_group.balancer.id
  referenced_security_group_id = aws_security_group.task.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_security_group" "task" {
  name        = "${var.name}-task"
  description = "The load balancer reaches tasks, and nobody else does"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "balancer_to_tasks" {
  security_group_id            = aws_security_group.task.id
  referenced_security_group_id = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_vpc_security_group_egress_rule" "tasks_to_everywhere" {
  security_group_id = aws_security_group.task.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_lb" "this" {
  name               = var.name
  load_balancer_type = "network"
  subnets            = var.subnet_ids
  security_groups    = [aws_security_group.balancer.id]
}

resource "aws_lb_target_group" "this" {
  name        = var.name
  vpc_id      = var.vpc_id
  port        = local.port
  protocol    = "TCP"
  target_type = "ip"

  proxy_protocol_v2 = true
  # With it the peer would be the client, whom nobody trusts; the header says the same.
  preserve_client_ip = false

  # A task that stops gets no new connection from the beginning of this, and SIGTERM at its end.
  deregistration_delay = 60

  # A connect with a LOCAL header, which ppserver answers, counts and does not log.
  health_check {
    protocol            = "TCP"
    port                = "traffic-port"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "this" {
  load_balancer_arn = aws_lb.this.arn
  port              = local.port
  protocol          = "TCP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/ecs/${var.name}"
  retention_in_days = 30
}

resource "aws_iam_role" "execution" {
  name = "${var.name}-execution"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
    }]
  })
}

# What AmazonECSTaskExecutionRolePolicy says, for this log group alone; ECR asks for no resource.
resource "aws_iam_role_policy" "execution" {
  name = "pull-and-log"
  role = aws_iam_role.execution.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.this.arn}:*"
      },
      {
        Effect = "Allow"
        Action = [
          "ecr:GetAuthorizationToken",
          "ecr:BatchCheckLayerAvailability",
          "ecr:GetDownloadUrlForLayer",
          "ecr:BatchGetImage",
        ]
        Resource = "*"
      },
    ]
  })
}

resource "aws_ecs_cluster" "this" {
  name = var.name
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = "256"
  memory                   = "512"
  execution_role_arn       = aws_iam_role.execution.arn

  container_definitions = jsonencode([
    {
      name                   = "ppserver"
      image                  = var.image
      essential              = true
      command                = ["run"]
      environment            = local.environment
      readonlyRootFilesystem = true
      portMappings           = [{ containerPort = local.port, hostPort = local.port, protocol = "tcp" }]
      logConfiguration       = local.logs.ppserver

      # SIGTERM first, SIGKILL so long behind it: more than PPSERVER_GRACE. Who depends on another stops before it, so
      # squid is there until the last connection has ended.
      stopTimeout = 30
      dependsOn   = [{ containerName = "squid", condition = "START" }]

      # Two descriptors a connection.
      ulimits = [{ name = "nofile", softLimit = 65535, hardLimit = 65535 }]

      healthCheck = {
        command     = ["CMD", "/ppserver", "healthcheck"]
        interval    = 10
        timeout     = 5
        retries     = 3
        startPeriod = 10
      }
    },
    {
      name      = "squid"
      image     = var.squid_image
      essential = true
      # Its own user, or it could not write to the log of a container.
      user             = "proxy"
      entryPoint       = ["sh", "-c"]
      command          = ["printf %s \"$SQUID_CONF\" > /tmp/squid.conf && exec squid -N -f /tmp/squid.conf"]
      environment      = [{ name = "SQUID_CONF", value = file("${path.module}/squid.conf") }]
      logConfiguration = local.logs.squid
      stopTimeout      = 60
    },
  ])
}

resource "aws_ecs_service" "this" {
  name                               = var.name
  cluster                            = aws_ecs_cluster.this.id
  task_definition                    = aws_ecs_task_definition.this.arn
  launch_type                        = "FARGATE"
  desired_count                      = var.tasks
  deployment_minimum_healthy_percent = 100
  health_check_grace_period_seconds  = 30

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.task.id]
    assign_public_ip = true
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.this.arn
    container_name   = "ppserver"
    container_port   = local.port
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  depends_on = [aws_lb_listener.this]
}

output "proxy" {
  description = "What clients set as their proxy."
  value       = "http://${aws_lb.this.dns_name}:${local.port}"
}
