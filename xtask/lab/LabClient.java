import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.PrintStream;
import java.io.Reader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupListing;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The lab's Kafka client: it makes data, and proves that data is the same. Every subcommand prints one JSON document on one line
 * of stdout (probe: one when it runs, one when it stops) and exits with 0, or prints an error on stderr and exits with 1.
 */
public final class LabClient {
    private static final PrintStream OUT = System.out;
    private final Map<String, List<String>> options = new HashMap<>();

    public static void main(String[] args) {
        System.setOut(System.err);
        if (args.length == 0) {
            System.err.println("usage: LabClient create|delete|list|produce|commit-group|digest|ready|probe|scram-user --bootstrap B [OPTIONS]");
            System.exit(2);
        }
        try {
            new LabClient(Arrays.copyOfRange(args, 1, args.length)).run(args[0]);
            System.exit(0);
        } catch (Throwable error) {
            Throwable shown = error instanceof ExecutionException && error.getCause() != null ? error.getCause() : error;
            System.err.println("lab client: " + args[0] + ": " + shown);
            if (System.getenv("KBO_LAB_TRACE") != null) {
                shown.printStackTrace();
            }
            Runtime.getRuntime().halt(1);
        }
    }

    private LabClient(String[] args) {
        String name = null;
        for (String arg : args) {
            if (arg.startsWith("--")) {
                name = arg.substring(2);
                options.computeIfAbsent(name, k -> new ArrayList<>());
            } else if (name == null) {
                throw new IllegalArgumentException("an option must come before " + arg);
            } else {
                options.get(name).add(arg);
            }
        }
    }

    private void run(String command) throws Exception {
        switch (command) {
            case "create" -> create();
            case "delete" -> delete();
            case "list" -> list();
            case "produce" -> produce();
            case "commit-group" -> commitGroup();
            case "digest" -> digest();
            case "ready" -> ready();
            case "probe" -> probe();
            case "scram-user" -> scramUser();
            default -> throw new IllegalArgumentException("unknown subcommand");
        }
    }

    // ---- topics

    private void create() throws Exception {
        Map<String, String> configs = new TreeMap<>();
        for (String pair : options.getOrDefault("config", List.of())) {
            int equals = pair.indexOf('=');
            if (equals < 1) {
                throw new IllegalArgumentException("--config wants KEY=VALUE, not " + pair);
            }
            configs.put(pair.substring(0, equals), pair.substring(equals + 1));
        }
        int partitions = (int) number("partitions", 3);
        short replication = (short) number("replication", 3);
        try (Admin admin = admin()) {
            admin.createTopics(List.of(new NewTopic(text("topic"), partitions, replication).configs(configs))).all().get();
            waitForTopic(admin, text("topic"), partitions);
        }
        print(Map.of("created", text("topic"), "partitions", partitions));
    }

    private void waitForTopic(Admin admin, String topic, int partitions) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        while (System.nanoTime() < deadline) {
            try {
                TopicDescription found = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
                if (found.partitions().size() == partitions && found.partitions().stream().allMatch(LabClient::full)) {
                    return;
                }
            } catch (ExecutionException error) {
                if (!(error.getCause() instanceof UnknownTopicOrPartitionException)) {
                    throw error;
                }
            }
            Thread.sleep(100);
        }
        throw new IllegalStateException("topic " + topic + " has no full ISR after 30 s");
    }

    private void delete() throws Exception {
        try (Admin admin = admin()) {
            admin.deleteTopics(List.of(text("topic"))).all().get();
            while (admin.listTopics().names().get().contains(text("topic"))) {
                Thread.sleep(100);
            }
        }
        print(Map.of("deleted", text("topic")));
    }

    private void list() throws Exception {
        Map<String, Object> topics = new TreeMap<>();
        try (Admin admin = admin()) {
            Collection<String> names = admin.listTopics().names().get();
            for (TopicDescription topic : admin.describeTopics(names).allTopicNames().get().values()) {
                int isr = topic.partitions().stream().mapToInt(p -> p.isr().size()).min().orElse(0);
                topics.put(topic.name(), new TreeMap<>(Map.of("partitions", topic.partitions().size(),
                        "replication", topic.partitions().get(0).replicas().size(), "smallest_isr", isr)));
            }
        }
        print(Map.of("topics", topics));
    }

    // ---- data

    private void produce() throws Exception {
        String topic = text("topic");
        int size = (int) number("size", 1024);
        long records = options.containsKey("bytes") ? Math.max(1, number("bytes", 0) / size) : number("records", 1000);
        long keys = number("keys", 0);
        boolean headers = options.containsKey("headers");
        boolean transactional = options.containsKey("transactional");
        long seed = number("seed", 1);
        long perTransaction = number("transaction-records", 500);
        // Rounds with a pause between them let segments roll by time.
        long perRound = Math.max(1, records / number("rounds", 1));
        long pause = number("pause-ms", 0);

        Properties config = clientConfig();
        config.put("acks", text("acks", "all"));
        config.put("compression.type", text("compression", "none"));
        config.put("linger.ms", "20");
        config.put("batch.size", text("batch-size", "262144"));
        config.put("buffer.memory", "67108864");
        config.put("max.request.size", "4194304");
        config.put("key.serializer", ByteArraySerializer.class.getName());
        config.put("value.serializer", ByteArraySerializer.class.getName());
        if (transactional) {
            config.put("transactional.id", "lab-" + topic + "-" + seed);
        }
        byte[] pool = new byte[16 << 20];
        new Random(seed).nextBytes(pool);
        byte[] filler = "the quick brown fox jumps over the lazy dog; ".repeat(size / 45 + 1).getBytes(StandardCharsets.US_ASCII);
        Random choice = new Random(seed ^ 0x5DEECE66DL);
        AtomicReference<Exception> failure = new AtomicReference<>();
        AtomicLong acked = new AtomicLong();
        long committed = 0;
        long aborted = 0;
        long transactions = 0;
        long started = System.nanoTime();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config)) {
            int partitions = producer.partitionsFor(topic).size();
            if (transactional) {
                producer.initTransactions();
            }
            long inTransaction = 0;
            for (long i = 0; i < records && failure.get() == null; i++) {
                if (transactional && inTransaction == 0) {
                    producer.beginTransaction();
                }
                byte[] key = keys > 0 ? ("key-" + (i % keys)).getBytes(StandardCharsets.US_ASCII) : null;
                int partition = (int) (keys > 0 ? (i % keys) % partitions : (i / 64) % partitions);
                ProducerRecord<byte[], byte[]> record =
                        new ProducerRecord<>(topic, partition, key, value(pool, filler, choice, size, seed, i));
                if (headers) {
                    record.headers().add("index", Long.toString(i).getBytes(StandardCharsets.US_ASCII)).add("empty", null);
                }
                producer.send(record, (metadata, error) -> {
                    if (error == null) {
                        acked.incrementAndGet();
                    } else {
                        failure.compareAndSet(null, error);
                    }
                });
                if (pause > 0 && (i + 1) % perRound == 0) {
                    producer.flush();
                    Thread.sleep(pause);
                }
                inTransaction++;
                if (transactional && (inTransaction == perTransaction || i == records - 1)) {
                    // Every fourth transaction is aborted, after its records are on disk.
                    if (transactions % 4 == 3) {
                        producer.flush();
                        producer.abortTransaction();
                        aborted += inTransaction;
                    } else {
                        producer.commitTransaction();
                        committed += inTransaction;
                    }
                    transactions++;
                    inTransaction = 0;
                }
            }
            producer.flush();
        }
        if (failure.get() != null) {
            throw failure.get();
        }
        double seconds = (System.nanoTime() - started) / 1e9;
        Map<String, Object> result = new TreeMap<>();
        result.put("topic", topic);
        result.put("records", acked.get());
        result.put("bytes", acked.get() * size);
        result.put("seconds", Math.round(seconds * 1000) / 1000.0);
        result.put("mb_per_second", Math.round(records * (double) size / seconds / 1e5) / 10.0);
        if (transactional) {
            result.put("committed", committed);
            result.put("aborted", aborted);
        }
        print(result);
    }

    /** A value of half random, half repeating bytes, the same for the same seed and index. */
    private static byte[] value(byte[] pool, byte[] filler, Random choice, int size, long seed, long index) {
        byte[] value = new byte[size];
        int random = size / 2;
        System.arraycopy(pool, choice.nextInt(pool.length - random), value, 0, random);
        System.arraycopy(filler, 0, value, random, size - random);
        if (size >= 16) {
            ByteBuffer.wrap(value).putLong(seed).putLong(index);
        }
        return value;
    }

    private void commitGroup() throws Exception {
        String topic = text("topic");
        long percent = number("percent", 50);
        Properties config = consumerConfig("read_committed");
        config.put("group.id", text("group"));
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        Map<String, Object> shown = new TreeMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config)) {
            List<TopicPartition> partitions =
                    consumer.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            consumer.poll(Duration.ofSeconds(2));
            Map<TopicPartition, Long> begin = consumer.beginningOffsets(partitions);
            Map<TopicPartition, Long> end = consumer.endOffsets(partitions);
            for (TopicPartition partition : partitions) {
                long offset = begin.get(partition) + (end.get(partition) - begin.get(partition)) * percent / 100;
                offsets.put(partition, new OffsetAndMetadata(offset, "lab"));
                shown.put(partition.toString(), offset);
            }
            consumer.commitSync(offsets);
        }
        print(Map.of("group", text("group"), "offsets", shown));
    }

    // ---- proof

    private void digest() throws Exception {
        try (Admin admin = admin()) {
            Set<String> names = new TreeSet<>();
            Set<String> wanted = new TreeSet<>(options.getOrDefault("topic", List.of()));
            for (String name : admin.listTopics().names().get()) {
                if (!name.startsWith("__") && (wanted.isEmpty() || wanted.contains(name))) {
                    names.add(name);
                }
            }
            Set<String> compacted = new TreeSet<>();
            List<ConfigResource> resources = names.stream().map(n -> new ConfigResource(ConfigResource.Type.TOPIC, n)).toList();
            admin.describeConfigs(resources).all().get().forEach((resource, config) -> {
                if (config.get("cleanup.policy").value().contains("compact")) {
                    compacted.add(resource.name());
                }
            });
            Map<String, Map<String, Object>> topics = new TreeMap<>();
            Map<String, TopicDescription> descriptions = admin.describeTopics(names).allTopicNames().get();
            names.forEach(name -> topics.put(name, new TreeMap<>(Map.of("partitions", descriptions.get(name).partitions().size()))));
            List<TopicPartition> partitions = new ArrayList<>();
            descriptions.values().forEach(d -> d.partitions().forEach(p -> partitions.add(new TopicPartition(d.name(), p.partition()))));
            for (String isolation : List.of("read_uncommitted", "read_committed")) {
                digestTopics(isolation, partitions, compacted).forEach((topic, found) -> topics.get(topic).put(isolation, found));
            }
            Map<String, Object> groups = new TreeMap<>();
            for (ConsumerGroupListing group : admin.listConsumerGroups().all().get()) {
                Map<String, Long> offsets = new TreeMap<>();
                admin.listConsumerGroupOffsets(group.groupId()).partitionsToOffsetAndMetadata().get().forEach((partition, offset) -> {
                    if (offset != null) {
                        offsets.put(partition.toString(), offset.offset());
                    }
                });
                groups.put(group.groupId(), offsets);
            }
            Map<String, Object> result = new TreeMap<>();
            result.put("topics", topics);
            result.put("groups", groups);
            print(result);
        }
    }

    private Map<String, Map<String, Object>> digestTopics(String isolation, List<TopicPartition> partitions, Set<String> compacted)
            throws Exception {
        Map<TopicPartition, PartitionDigest> digests = new HashMap<>();
        for (TopicPartition partition : partitions) {
            digests.put(partition, new PartitionDigest(compacted.contains(partition.topic())));
        }
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(consumerConfig(isolation))) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = new HashMap<>(consumer.endOffsets(partitions));
            ends.forEach((partition, end) -> digests.get(partition).end = end);
            long lastProgress = System.nanoTime();
            while (!ends.isEmpty()) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    TopicPartition partition = new TopicPartition(record.topic(), record.partition());
                    // What is written after the digest began is not part of it.
                    if (record.offset() < digests.get(partition).end) {
                        digests.get(partition).add(record);
                    }
                    lastProgress = System.nanoTime();
                }
                List<TopicPartition> done = ends.keySet().stream().filter(p -> consumer.position(p) >= ends.get(p)).toList();
                if (!done.isEmpty()) {
                    done.forEach(ends::remove);
                    consumer.pause(done);
                    lastProgress = System.nanoTime();
                }
                if (System.nanoTime() - lastProgress > TimeUnit.SECONDS.toNanos(60)) {
                    throw new IllegalStateException("no progress for 60 s; partitions not read to their end: " + ends);
                }
            }
        }
        Map<String, Map<String, Object>> result = new TreeMap<>();
        Map<String, List<TopicPartition>> byTopic = new TreeMap<>();
        partitions.forEach(p -> byTopic.computeIfAbsent(p.topic(), k -> new ArrayList<>()).add(p));
        for (Map.Entry<String, List<TopicPartition>> topic : byTopic.entrySet()) {
            topic.getValue().sort((a, b) -> Integer.compare(a.partition(), b.partition()));
            MessageDigest all = MessageDigest.getInstance("SHA-256");
            MessageDigest latest = MessageDigest.getInstance("SHA-256");
            long count = 0;
            for (TopicPartition partition : topic.getValue()) {
                PartitionDigest one = digests.get(partition);
                count += one.count;
                all.update(ByteBuffer.allocate(12).putInt(partition.partition()).putLong(one.count).array());
                all.update(one.digest.digest());
                one.latest.forEach((key, value) -> latest.update((key + "=" + value + "\n").getBytes(StandardCharsets.US_ASCII)));
            }
            Map<String, Object> found = new TreeMap<>();
            found.put("count", count);
            found.put("sha256", HexFormat.of().formatHex(all.digest()));
            if (compacted.contains(topic.getKey())) {
                found.put("latest_sha256", HexFormat.of().formatHex(latest.digest()));
            }
            result.put(topic.getKey(), found);
        }
        return result;
    }

    /** Count and hash of one partition's records, in the order of their offsets; of compacted topics also the last value of each key. */
    private static final class PartitionDigest {
        final MessageDigest digest;
        final boolean compacted;
        final TreeMap<String, String> latest = new TreeMap<>();
        long count;
        long end;

        PartitionDigest(boolean compacted) throws Exception {
            this.digest = MessageDigest.getInstance("SHA-256");
            this.compacted = compacted;
        }

        void add(ConsumerRecord<byte[], byte[]> record) throws Exception {
            count++;
            digest.update(ByteBuffer.allocate(20).putInt(record.partition()).putLong(record.offset()).putLong(record.timestamp()).array());
            update(record.key());
            update(record.value());
            for (Header header : record.headers()) {
                update(header.key().getBytes(StandardCharsets.UTF_8));
                update(header.value());
            }
            if (compacted && record.key() != null) {
                String key = HexFormat.of().formatHex(record.key());
                if (record.value() == null) {
                    latest.remove(key);
                } else {
                    latest.put(key, HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(record.value())));
                }
            }
        }

        private void update(byte[] bytes) {
            digest.update(ByteBuffer.allocate(4).putInt(bytes == null ? -1 : bytes.length).array());
            if (bytes != null) {
                digest.update(bytes);
            }
        }
    }

    // ---- state of the cluster

    private void ready() throws Exception {
        int brokers = (int) number("brokers", 3);
        long started = System.nanoTime();
        long deadline = started + TimeUnit.SECONDS.toNanos(number("timeout", 180));
        String last = "nothing answered";
        try (Admin admin = admin()) {
            while (System.nanoTime() < deadline) {
                try {
                    int alive = admin.describeCluster().nodes().get(5, TimeUnit.SECONDS).size();
                    String behind = null;
                    if (alive >= brokers) {
                        // A broker that was killed stays registered, and in the ISR, for some seconds: each must answer for itself.
                        admin.describeLogDirs(admin.describeCluster().nodes().get().stream().map(n -> n.id()).toList())
                                .allDescriptions().get(5, TimeUnit.SECONDS);
                        behind = firstBehind(admin);
                    }
                    if (alive >= brokers && behind == null) {
                        if (options.containsKey("write")) {
                            writeOnce(admin);
                        }
                        print(Map.of("ready", true, "brokers", alive, "ms", (System.nanoTime() - started) / 1_000_000));
                        return;
                    }
                    last = alive < brokers ? alive + " of " + brokers + " brokers are registered" : behind + " has no full ISR";
                } catch (Exception error) {
                    last = String.valueOf(error.getCause() == null ? error : error.getCause());
                }
                Thread.sleep(200);
            }
        }
        throw new IllegalStateException("not ready in time: " + last);
    }

    private String firstBehind(Admin admin) throws Exception {
        Collection<String> names = admin.listTopics(new org.apache.kafka.clients.admin.ListTopicsOptions().listInternal(true))
                .names().get(5, TimeUnit.SECONDS);
        for (TopicDescription topic : admin.describeTopics(names).allTopicNames().get(5, TimeUnit.SECONDS).values()) {
            for (TopicPartitionInfo partition : topic.partitions()) {
                if (!full(partition)) {
                    return topic.name() + "-" + partition.partition();
                }
            }
        }
        return null;
    }

    private static boolean full(TopicPartitionInfo partition) {
        return partition.leader() != null && !partition.leader().isEmpty() && partition.isr().size() == partition.replicas().size();
    }

    /** One record through a topic of its own, which is deleted again. */
    private void writeOnce(Admin admin) throws Exception {
        String topic = "lab-ready-" + System.nanoTime();
        admin.createTopics(List.of(new NewTopic(topic, 1, (short) number("brokers", 3))
                .configs(Map.of("file.delete.delay.ms", "1000")))).all().get();
        waitForTopic(admin, topic, 1);
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(probeConfig())) {
            producer.send(new ProducerRecord<>(topic, new byte[8])).get(60, TimeUnit.SECONDS);
        } finally {
            admin.deleteTopics(List.of(topic)).all().get();
        }
    }

    /**
     * Writes a record to every partition each 20 ms until stdin ends or SIGTERM comes, and prints the longest time that one partition
     * (longest_gap_ms) and that the whole topic (longest_silence_ms) went without an acknowledgement.
     */
    private void probe() throws Exception {
        String topic = text("topic");
        AtomicLong acked = new AtomicLong();
        AtomicLong failed = new AtomicLong();
        CountDownLatch reported = new CountDownLatch(1);
        AtomicReference<Boolean> stop = new AtomicReference<>(false);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stop.set(true);
            try {
                reported.await(15, TimeUnit.SECONDS);
            } catch (InterruptedException ignored) {
                Thread.currentThread().interrupt();
            }
        }));
        Thread input = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                    // Only the end of the input matters.
                }
            } catch (IOException ignored) {
                // As good as its end.
            }
            stop.set(true);
        });
        input.setDaemon(true);
        input.start();
        long[] last;
        long[] longest;
        long[] anyLast = {0};
        long[] anyLongest = {0};
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(probeConfig())) {
            int partitions = producer.partitionsFor(topic).size();
            last = new long[partitions];
            longest = new long[partitions];
            for (int p = 0; p < partitions; p++) {
                producer.send(new ProducerRecord<>(topic, p, null, new byte[64])).get();
                last[p] = System.nanoTime();
            }
            anyLast[0] = System.nanoTime();
            print(Map.of("probe", "running", "topic", topic));
            while (!stop.get()) {
                for (int p = 0; p < partitions; p++) {
                    int partition = p;
                    producer.send(new ProducerRecord<>(topic, p, null, new byte[64]), (metadata, error) -> {
                        if (error != null) {
                            failed.incrementAndGet();
                            return;
                        }
                        // Callbacks all run on the producer's one I/O thread.
                        long now = System.nanoTime();
                        longest[partition] = Math.max(longest[partition], now - last[partition]);
                        anyLongest[0] = Math.max(anyLongest[0], now - anyLast[0]);
                        last[partition] = now;
                        anyLast[0] = now;
                        acked.incrementAndGet();
                    });
                }
                Thread.sleep(20);
            }
            producer.flush();
        }
        Map<String, Object> result = new TreeMap<>();
        result.put("longest_gap_ms", Arrays.stream(longest).max().orElse(0) / 1_000_000);
        result.put("longest_silence_ms", anyLongest[0] / 1_000_000);
        result.put("acked", acked.get());
        result.put("failed", failed.get());
        print(result);
        reported.countDown();
    }

    /** A user who may log in by both kinds of SCRAM, with a password that no command line shows. */
    private void scramUser() throws Exception {
        String password = Files.readString(Path.of(text("password-file"))).strip();
        try (Admin admin = admin()) {
            // A request may alter a user only once.
            for (ScramMechanism mechanism : List.of(ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)) {
                ScramCredentialInfo info = new ScramCredentialInfo(mechanism, 4096);
                admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion(text("user"), info, password))).all().get();
            }
        }
        print(Map.of("user", text("user")));
    }

    // ---- configuration

    private Admin admin() throws IOException {
        Properties config = clientConfig();
        config.put("request.timeout.ms", "10000");
        config.put("default.api.timeout.ms", "60000");
        return Admin.create(config);
    }

    private Properties clientConfig() throws IOException {
        Properties config = new Properties();
        if (options.containsKey("properties")) {
            try (Reader file = Files.newBufferedReader(Path.of(text("properties")))) {
                config.load(file);
            }
        }
        config.put("bootstrap.servers", text("bootstrap"));
        config.put("client.id", "kbo-lab");
        config.put("reconnect.backoff.max.ms", "500");
        config.put("socket.connection.setup.timeout.ms", "3000");
        return config;
    }

    private Properties probeConfig() throws IOException {
        Properties config = clientConfig();
        config.put("acks", "all");
        config.put("linger.ms", "0");
        config.put("request.timeout.ms", "3000");
        config.put("delivery.timeout.ms", "600000");
        config.put("max.block.ms", "600000");
        config.put("reconnect.backoff.max.ms", "100");
        config.put("retry.backoff.max.ms", "200");
        config.put("key.serializer", ByteArraySerializer.class.getName());
        config.put("value.serializer", ByteArraySerializer.class.getName());
        return config;
    }

    private Properties consumerConfig(String isolation) throws IOException {
        Properties config = clientConfig();
        config.put("isolation.level", isolation);
        config.put("enable.auto.commit", "false");
        config.put("auto.offset.reset", "earliest");
        config.put("max.poll.records", "5000");
        config.put("fetch.max.bytes", "33554432");
        config.put("max.partition.fetch.bytes", "4194304");
        config.put("key.deserializer", ByteArrayDeserializer.class.getName());
        config.put("value.deserializer", ByteArrayDeserializer.class.getName());
        return config;
    }

    private String text(String name) {
        String value = text(name, null);
        if (value == null) {
            throw new IllegalArgumentException("--" + name + " is missing");
        }
        return value;
    }

    private String text(String name, String otherwise) {
        List<String> values = options.get(name);
        return values == null || values.isEmpty() ? otherwise : values.get(values.size() - 1);
    }

    private long number(String name, long otherwise) {
        String value = text(name, null);
        if (value == null) {
            return otherwise;
        }
        return Long.parseLong(value.replace("_", ""));
    }

    private static void print(Map<String, ?> document) throws Exception {
        OUT.println(new ObjectMapper().writeValueAsString(new TreeMap<>(document)));
        OUT.flush();
    }
}
