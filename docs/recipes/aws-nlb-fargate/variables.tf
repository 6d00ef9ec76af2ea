variable "name" {
  description = "What everything is called."
  type        = string
  default     = "ppserver"
}

variable "vpc_id" {
  description = "Where everything is."
  type        = string
}

variable "subnet_ids" {
  description = "The subnets of the load balancer, which are the trust, and of the tasks."
  type        = list(string)
}

variable "clients" {
  description = "Who may reach the load balancer."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "image" {
  description = "ppserver, in a registry that tasks can pull from."
  type        = string
}

variable "squid_image" {
  description = "The forward proxy: any image with a shell and squid."
  type        = string
  default     = "ubuntu/squid:6.6-24.04_beta"
}

variable "tasks" {
  description = "How many."
  type        = number
  default     = 2
}
