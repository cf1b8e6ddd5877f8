// RocksDB's view of a disk in memory: a file system that forwards every call to Rust (src/env.rs). It keeps no state.

#include <atomic>
#include <cstdarg>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "rocksdb/env.h"
#include "rocksdb/file_system.h"
#include "rocksdb/system_clock.h"

using namespace ROCKSDB_NAMESPACE;

extern "C" {
// What the C API of RocksDB means by an environment (db/c.cc).
struct rocksdb_env_t {
  Env* rep;
  bool is_default;
};

int karri_disk_open_write(const void* disk, const char* name, size_t length, bool keep, void** file);
int karri_disk_open_read(const void* disk, const char* name, size_t length, void** file);
int karri_disk_append(void* file, const char* data, size_t length);
int karri_disk_truncate(void* file, uint64_t length);
int karri_disk_sync(void* file);
int karri_disk_read(void* file, uint64_t offset, char* out, size_t length, size_t* got);
uint64_t karri_disk_size(void* file);
void karri_disk_close(void* file);
int karri_disk_exists(const void* disk, const char* name, size_t length, bool* is_dir);
int karri_disk_list(const void* disk, const char* name, size_t length, void* context,
                    void (*push)(void*, const char*, size_t));
int karri_disk_remove(const void* disk, const char* name, size_t length);
int karri_disk_make_dir(const void* disk, const char* name, size_t length, bool may_exist);
int karri_disk_remove_dir(const void* disk, const char* name, size_t length);
int karri_disk_file_size(const void* disk, const char* name, size_t length, uint64_t* size);
int karri_disk_rename(const void* disk, const char* from, size_t from_length, const char* to, size_t to_length);
int karri_disk_link(const void* disk, const char* from, size_t from_length, const char* to, size_t to_length);
int karri_disk_sync_dir(const void* disk, const char* name, size_t length);
int karri_disk_lock(const void* disk, const char* name, size_t length, void** lock);
void karri_disk_unlock(void* lock);
void karri_disk_release(const void* disk);
}

namespace {

IOStatus Status_(int code, const std::string& name) {
  switch (code) {
    case 0: return IOStatus::OK();
    case 1: return IOStatus::PathNotFound(name, "No such file or directory");
    case 2: return IOStatus::NoSpace(name, "No space left on device");
    case 3: return IOStatus::IOError(name, "File exists");
    case 4: return IOStatus::IOError(name, "lock held by another");
    case 5: return IOStatus::IOError(name, "the disk has crashed");
    default: return IOStatus::IOError(name, "Input/output error");
  }
}

class File {
 public:
  File(void* file, std::string name) : file_(file), name_(std::move(name)) {}
  ~File() { karri_disk_close(file_); }
  File(const File&) = delete;
  IOStatus Read(uint64_t offset, size_t n, Slice* result, char* scratch) const {
    size_t got = 0;
    IOStatus status = Status_(karri_disk_read(file_, offset, scratch, n, &got), name_);
    *result = Slice(scratch, got);
    return status;
  }
  void* file_;
  std::string name_;
};

class Sequential : public FSSequentialFile {
 public:
  Sequential(void* file, const std::string& name) : file_(file, name) {}
  IOStatus Read(size_t n, const IOOptions&, Slice* result, char* scratch, IODebugContext*) override {
    IOStatus status = file_.Read(at_, n, result, scratch);
    at_ += result->size();
    return status;
  }
  IOStatus Skip(uint64_t n) override {
    at_ += n;
    return IOStatus::OK();
  }

 private:
  File file_;
  uint64_t at_ = 0;
};

class RandomAccess : public FSRandomAccessFile {
 public:
  RandomAccess(void* file, const std::string& name) : file_(file, name) {}
  IOStatus Read(uint64_t offset, size_t n, const IOOptions&, Slice* result, char* scratch,
                IODebugContext*) const override {
    return file_.Read(offset, n, result, scratch);
  }
  IOStatus GetFileSize(uint64_t* size) override {
    *size = karri_disk_size(file_.file_);
    return IOStatus::OK();
  }

 private:
  File file_;
};

class Writable : public FSWritableFile {
 public:
  Writable(void* file, const std::string& name) : file_(file, name) {}
  using FSWritableFile::Append;
  IOStatus Append(const Slice& data, const IOOptions&, IODebugContext*) override {
    return Status_(karri_disk_append(file_.file_, data.data(), data.size()), file_.name_);
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const DataVerificationInfo&,
                  IODebugContext* dbg) override {
    return Append(data, options, dbg);
  }
  IOStatus Truncate(uint64_t size, const IOOptions&, IODebugContext*) override {
    return Status_(karri_disk_truncate(file_.file_, size), file_.name_);
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    return Status_(karri_disk_sync(file_.file_), file_.name_);
  }
  // A hint to begin writing back: it promises nothing.
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  bool IsSyncThreadSafe() const override { return true; }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override { return karri_disk_size(file_.file_); }

 private:
  File file_;
};

class Directory_ : public FSDirectory {
 public:
  Directory_(const void* disk, const std::string& name) : disk_(disk), name_(name) {}
  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    return Status_(karri_disk_sync_dir(disk_, name_.data(), name_.size()), name_);
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  const void* disk_;
  std::string name_;
};

// RocksDB's own log of what it does; nobody reads it.
class Quiet : public Logger {
 public:
  using Logger::Logv;
  void Logv(const char*, va_list) override {}
  size_t GetLogFileSize() const override { return 0; }
};

struct Lock_ : public FileLock {
  explicit Lock_(void* lock) : lock_(lock) {}
  void* lock_;
};

class MemoryFileSystem : public FileSystem {
 public:
  explicit MemoryFileSystem(const void* disk) : disk_(disk) {}
  ~MemoryFileSystem() override { karri_disk_release(disk_); }
  const char* Name() const override { return "KarriMemoryFileSystem"; }

  IOStatus NewSequentialFile(const std::string& name, const FileOptions&, std::unique_ptr<FSSequentialFile>* result,
                             IODebugContext*) override {
    void* file = nullptr;
    IOStatus status = Status_(karri_disk_open_read(disk_, name.data(), name.size(), &file), name);
    if (status.ok()) result->reset(new Sequential(file, name));
    return status;
  }
  IOStatus NewRandomAccessFile(const std::string& name, const FileOptions&,
                               std::unique_ptr<FSRandomAccessFile>* result, IODebugContext*) override {
    void* file = nullptr;
    IOStatus status = Status_(karri_disk_open_read(disk_, name.data(), name.size(), &file), name);
    if (status.ok()) result->reset(new RandomAccess(file, name));
    return status;
  }
  IOStatus NewWritableFile(const std::string& name, const FileOptions&, std::unique_ptr<FSWritableFile>* result,
                           IODebugContext*) override {
    return OpenWritable(name, false, result);
  }
  IOStatus ReopenWritableFile(const std::string& name, const FileOptions&, std::unique_ptr<FSWritableFile>* result,
                              IODebugContext*) override {
    return OpenWritable(name, true, result);
  }
  IOStatus NewDirectory(const std::string& name, const IOOptions&, std::unique_ptr<FSDirectory>* result,
                        IODebugContext*) override {
    result->reset(new Directory_(disk_, name));
    return IOStatus::OK();
  }
  IOStatus FileExists(const std::string& name, const IOOptions&, IODebugContext*) override {
    bool is_dir = false;
    int code = karri_disk_exists(disk_, name.data(), name.size(), &is_dir);
    return code == 1 ? IOStatus::NotFound(name) : Status_(code, name);
  }
  IOStatus GetChildren(const std::string& name, const IOOptions&, std::vector<std::string>* result,
                       IODebugContext*) override {
    result->clear();
    auto push = [](void* context, const char* child, size_t length) {
      static_cast<std::vector<std::string>*>(context)->emplace_back(child, length);
    };
    return Status_(karri_disk_list(disk_, name.data(), name.size(), result, push), name);
  }
  IOStatus DeleteFile(const std::string& name, const IOOptions&, IODebugContext*) override {
    return Status_(karri_disk_remove(disk_, name.data(), name.size()), name);
  }
  IOStatus CreateDir(const std::string& name, const IOOptions&, IODebugContext*) override {
    return Status_(karri_disk_make_dir(disk_, name.data(), name.size(), false), name);
  }
  IOStatus CreateDirIfMissing(const std::string& name, const IOOptions&, IODebugContext*) override {
    return Status_(karri_disk_make_dir(disk_, name.data(), name.size(), true), name);
  }
  IOStatus DeleteDir(const std::string& name, const IOOptions&, IODebugContext*) override {
    return Status_(karri_disk_remove_dir(disk_, name.data(), name.size()), name);
  }
  IOStatus GetFileSize(const std::string& name, const IOOptions&, uint64_t* size, IODebugContext*) override {
    return Status_(karri_disk_file_size(disk_, name.data(), name.size(), size), name);
  }
  IOStatus GetFileModificationTime(const std::string&, const IOOptions&, uint64_t* time, IODebugContext*) override {
    *time = 0;
    return IOStatus::OK();
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions&, IODebugContext*) override {
    return Status_(karri_disk_rename(disk_, from.data(), from.size(), to.data(), to.size()), from);
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions&, IODebugContext*) override {
    return Status_(karri_disk_link(disk_, from.data(), from.size(), to.data(), to.size()), from);
  }
  IOStatus LockFile(const std::string& name, const IOOptions&, FileLock** result, IODebugContext*) override {
    void* lock = nullptr;
    IOStatus status = Status_(karri_disk_lock(disk_, name.data(), name.size(), &lock), name);
    if (status.ok()) *result = new Lock_(lock);
    return status;
  }
  IOStatus UnlockFile(FileLock* lock, const IOOptions&, IODebugContext*) override {
    karri_disk_unlock(static_cast<Lock_*>(lock)->lock_);
    delete lock;
    return IOStatus::OK();
  }
  IOStatus NewLogger(const std::string&, const IOOptions&, std::shared_ptr<Logger>* result, IODebugContext*) override {
    *result = std::make_shared<Quiet>();
    return IOStatus::OK();
  }
  IOStatus GetTestDirectory(const IOOptions&, std::string* path, IODebugContext*) override {
    *path = "/test";
    return IOStatus::OK();
  }
  IOStatus GetAbsolutePath(const std::string& name, const IOOptions&, std::string* result, IODebugContext*) override {
    *result = name;
    return IOStatus::OK();
  }
  IOStatus IsDirectory(const std::string& name, const IOOptions&, bool* is_dir, IODebugContext*) override {
    return Status_(karri_disk_exists(disk_, name.data(), name.size(), is_dir), name);
  }

 private:
  IOStatus OpenWritable(const std::string& name, bool keep, std::unique_ptr<FSWritableFile>* result) {
    void* file = nullptr;
    IOStatus status = Status_(karri_disk_open_write(disk_, name.data(), name.size(), keep, &file), name);
    if (status.ok()) result->reset(new Writable(file, name));
    return status;
  }

  const void* disk_;
};

// What RocksDB does beside its callers (flushes, compactions, deletions of files). In a simulation it waits here, for all
// disks of the process, until the thread that simulates does it: other threads would reach the disk in an order that no
// seed fixes.
class Background {
 public:
  struct Job {
    void (*run)(void*);
    void* argument;
    Env::Priority priority;
    void* tag;
    void (*undo)(void*);
  };
  void Hold() { held_ = true; }
  bool Held() const { return held_; }
  void Add(const Job& job) {
    std::lock_guard<std::mutex> lock(mutex_);
    jobs_.push_back(job);
  }
  // Takes the oldest away, outside the lock: a job may add others.
  bool DoOne() {
    Job job;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (jobs_.empty()) return false;
      job = jobs_.front();
      jobs_.pop_front();
    }
    job.run(job.argument);
    return true;
  }
  int Remove(void* tag, Env::Priority priority) {
    std::deque<Job> removed;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      std::deque<Job> kept;
      for (const Job& job : jobs_) (job.tag == tag && job.priority == priority ? removed : kept).push_back(job);
      jobs_.swap(kept);
    }
    for (const Job& job : removed) {
      if (job.undo != nullptr) job.undo(job.argument);
    }
    return static_cast<int>(removed.size());
  }
  unsigned int Waiting(Env::Priority priority) {
    std::lock_guard<std::mutex> lock(mutex_);
    unsigned int waiting = 0;
    for (const Job& job : jobs_) waiting += job.priority == priority ? 1 : 0;
    return waiting;
  }

 private:
  std::atomic<bool> held_{false};
  std::mutex mutex_;
  std::deque<Job> jobs_;
};

// Never destroyed: RocksDB's threads may outlive `main`.
Background& background() {
  static auto* const all = new Background;
  return *all;
}

// RocksDB waits a second after each failure in the background, which a crash is full of.
class Hasty : public SystemClockWrapper {
 public:
  explicit Hasty(const std::shared_ptr<SystemClock>& clock) : SystemClockWrapper(clock) {}
  const char* Name() const override { return "KarriHastyClock"; }
  void SleepForMicroseconds(int micros) override {
    // A writer that is held up waits for what is done in the background.
    if (background().Held() && background().DoOne()) return;
    target_->SleepForMicroseconds(micros < 1000 ? micros : 1000);
  }
};

class MemoryEnv : public EnvWrapper {
 public:
  explicit MemoryEnv(std::unique_ptr<Env>&& env) : EnvWrapper(std::move(env)) {
    system_clock_ = std::make_shared<Hasty>(system_clock_);
  }
  void Schedule(void (*run)(void*), void* argument, Priority priority, void* tag, void (*undo)(void*)) override {
    if (!background().Held()) return EnvWrapper::Schedule(run, argument, priority, tag, undo);
    background().Add({run, argument, priority, tag, undo});
  }
  int UnSchedule(void* tag, Priority priority) override {
    if (!background().Held()) return EnvWrapper::UnSchedule(tag, priority);
    return background().Remove(tag, priority);
  }
  unsigned int GetThreadPoolQueueLen(Priority priority) const override {
    if (!background().Held()) return EnvWrapper::GetThreadPoolQueueLen(priority);
    return background().Waiting(priority);
  }
};

}  // namespace

// Takes over one reference to the disk. The environment is freed by rocksdb_env_destroy.
extern "C" rocksdb_env_t* karri_disk_env(const void* disk) {
  auto env = new rocksdb_env_t;
  env->rep = new MemoryEnv(NewCompositeEnv(std::make_shared<MemoryFileSystem>(disk)));
  env->is_default = false;
  return env;
}

extern "C" void karri_disk_hold_background() { background().Hold(); }

extern "C" bool karri_disk_do_background() { return background().DoOne(); }
