"""Who may talk to whom. Every source is a group of the cluster; no rule has an address range as its source."""

from __future__ import annotations

from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infra.constructs.naming import tags

SLURMCTLD = (6817, 6817)
SLURMD = (6818, 6818)
# What slurm.conf must name as SrunPortRange
SRUN = (60001, 60999)
LUSTRE = ((988, 988), (1018, 1023))
HTTPS = (443, 443)


class SecurityGroups(Construct):
    """The groups of head, nodes, file system and endpoints, and the rules between them.

    Nodes reach each other by every protocol, in and out: EFA needs exactly that (a rule to 0.0.0.0/0 does not
    replace it), and MPI and Gloo choose their ports themselves.
    """

    def __init__(self, scope: Construct, id: str, *, cluster: str, vpc_id: str) -> None:
        super().__init__(scope, id)
        self._cluster = cluster
        self._vpc_id = vpc_id
        self.head = self._group("Head", "Slurm controller", https_out=True)
        self.nodes = self._group("Nodes", "Compute nodes", https_out=True)
        self.file_system = self._group("FileSystem", "FSx for Lustre")
        self.endpoints = self._group("Endpoints", "Endpoints of AWS services")
        self._everything("NodesToNodes", self.nodes)
        self._allow("NodesToController", self.nodes, self.head, SLURMCTLD)
        self._allow("ControllerToNodes", self.head, self.nodes, SLURMD)
        self._allow("NodesToSrun", self.nodes, self.head, SRUN)
        self._allow("SrunToNodes", self.head, self.nodes, SRUN)
        for name, machines in (("Head", self.head), ("Nodes", self.nodes)):
            # Out of the machines' groups it is let by their rule to everywhere, which S3 needs
            self._allow_in(f"{name}ToEndpoints", machines, self.endpoints, HTTPS)
            for ports in LUSTRE:
                self._allow(f"{name}ToLustre{ports[0]}", machines, self.file_system, ports)
                self._allow(f"LustreTo{name}{ports[0]}", self.file_system, machines, ports)
        for ports in LUSTRE:
            self._allow(f"LustreToLustre{ports[0]}", self.file_system, self.file_system, ports)

    def _group(self, id: str, what: str, *, https_out: bool = False) -> ec2.CfnSecurityGroup:
        """A group. A rule of its own for what goes out replaces the one to everywhere that EC2 would add."""
        if https_out:
            # The gateway endpoint of S3 has public addresses, whose list differs by region
            out = ec2.CfnSecurityGroup.EgressProperty(
                ip_protocol="tcp", from_port=443, to_port=443, cidr_ip="0.0.0.0/0", description="S3 by its endpoint"
            )
        else:
            out = ec2.CfnSecurityGroup.EgressProperty(
                ip_protocol="icmp", from_port=252, to_port=86, cidr_ip="255.255.255.255/32", description="nothing"
            )
        return ec2.CfnSecurityGroup(
            self,
            id,
            group_description=f"Dure cluster {self._cluster}: {what}",
            vpc_id=self._vpc_id,
            security_group_egress=[out],
            tags=tags(self._cluster, name=f"dure-{self._cluster}-{id.lower()}"),
        )

    def _allow(
        self, id: str, source: ec2.CfnSecurityGroup, target: ec2.CfnSecurityGroup, ports: tuple[int, int]
    ) -> None:
        """TCP from one group to another: out of the one and into the other."""
        self._allow_in(id, source, target, ports)
        ec2.CfnSecurityGroupEgress(
            self,
            f"{id}Out",
            group_id=source.attr_group_id,
            destination_security_group_id=target.attr_group_id,
            ip_protocol="tcp",
            from_port=ports[0],
            to_port=ports[1],
        )

    def _allow_in(
        self, id: str, source: ec2.CfnSecurityGroup, target: ec2.CfnSecurityGroup, ports: tuple[int, int]
    ) -> None:
        """TCP from one group into another."""
        ec2.CfnSecurityGroupIngress(
            self,
            f"{id}In",
            group_id=target.attr_group_id,
            source_security_group_id=source.attr_group_id,
            ip_protocol="tcp",
            from_port=ports[0],
            to_port=ports[1],
        )

    def _everything(self, id: str, group: ec2.CfnSecurityGroup) -> None:
        """Every protocol within one group, both ways."""
        ec2.CfnSecurityGroupIngress(
            self,
            f"{id}In",
            group_id=group.attr_group_id,
            source_security_group_id=group.attr_group_id,
            ip_protocol="-1",
        )
        ec2.CfnSecurityGroupEgress(
            self,
            f"{id}Out",
            group_id=group.attr_group_id,
            destination_security_group_id=group.attr_group_id,
            ip_protocol="-1",
        )
