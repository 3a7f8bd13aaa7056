/** Schemas of the short ids. */
import type {
  ClusterId,
  DatacenterId,
  DatastoreId,
  DiskId,
  FolderId,
  HostId,
  ImageId,
  NetworkId,
  PoolId,
  ProjectId,
  TaskId,
  TokenId,
  VmId,
} from '../base/ids.ts'
import { Id } from './schema.ts'

export const VmIdSchema = Id<VmId>('vm')
export const HostIdSchema = Id<HostId>('host')
export const DatastoreIdSchema = Id<DatastoreId>('ds')
export const NetworkIdSchema = Id<NetworkId>('net')
export const ImageIdSchema = Id<ImageId>('img')
export const DiskIdSchema = Id<DiskId>('disk')
export const TaskIdSchema = Id<TaskId>('task')
export const TokenIdSchema = Id<TokenId>('token')
export const ClusterIdSchema = Id<ClusterId>('cluster')
export const DatacenterIdSchema = Id<DatacenterId>('dc')
export const FolderIdSchema = Id<FolderId>('folder')
export const PoolIdSchema = Id<PoolId>('pool')
export const ProjectIdSchema = Id<ProjectId>('project')
